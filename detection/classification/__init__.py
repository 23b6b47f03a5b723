"""Classification: pretraining of the backbone, and the paper's test protocol."""
