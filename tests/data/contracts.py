"""What holds for everything that a reader returns."""

from __future__ import annotations

from collections.abc import Sequence

from detection.data.records import DetectionData, Finding


def assert_valid_data(data: DetectionData) -> None:
    """Types, shapes, boxes inside their images, labels in range, ids distinct, findings told in full."""
    assert len(data.category_ids) == len(data.class_names) == len(set(data.class_names))
    assert len({image.image_id for image in data.images}) == len(data.images)
    for image in data.images:
        num_objects = len(image.boxes)
        height, width = image.size_hw
        assert image.path.is_file()
        assert image.boxes.shape == (num_objects, 4)
        assert image.labels.shape == image.ignore.shape == image.area.shape == (num_objects,)
        dtypes = [column.dtype.name for column in (image.boxes, image.labels, image.ignore, image.area)]
        assert dtypes == ["float32", "int64", "bool", "float32"]
        assert (image.boxes[:, :2] >= 0).all()
        assert (image.boxes[:, 2:] <= [width, height]).all()
        assert (image.boxes[:, 2:] > image.boxes[:, :2]).all()  # Tiny ones are kept.
        assert ((image.labels >= 0) & (image.labels < len(data.class_names))).all()
        assert (image.area > 0).all()
    for finding in data.findings:
        assert all((finding.kind, finding.file, finding.message, finding.remedy))


def only_finding(findings: Sequence[Finding], kind: str) -> Finding:
    """The one finding there is; fails if there are others or it is of another kind."""
    assert [finding.kind for finding in findings] == [kind], [str(finding) for finding in findings]
    return findings[0]
