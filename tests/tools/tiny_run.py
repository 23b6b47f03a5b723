"""A training that takes a moment: the options of a tiny network."""

TINY = [
    "--set=input.longest_side=64",
    "--set=pyramid.channels=8",
    "--set=proposals.candidates=50",
    "--set=proposals.num_train=16",
    "--set=proposals.num_detect=10",
    "--set=classifier.hidden=16",
    "--set=classifier.member_hidden=8",
    "--set=classifier.rois_per_image=8",
    "--set=postprocess.score_threshold=0",
    "--set=train.batch_size=2",
    "--set=train.precision=float32",
    "--set=train.device=cpu",
]
