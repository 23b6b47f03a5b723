"""Class-agnostic proposals: priors, the MultiBox head, its loss, and the boxes it gives."""
