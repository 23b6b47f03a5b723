"""OpenCV's selective search as a process of its own: paths come in, boxes and seconds go out, one JSON line each.

Run by an interpreter that has opencv-contrib-python, which does not go together with the OpenCV of this project:

    python opencv_selective_search.py fast|quality WIDTH < paths

It imports nothing of this project. A picture is scaled to WIDTH first, as the other side does.
"""

import json
import sys
import time

import cv2


def main() -> None:
    """Answers one line of standard input after the other."""
    cv2.setNumThreads(1)
    mode, width = sys.argv[1], int(sys.argv[2])
    for line in sys.stdin:
        image = cv2.imread(line.rstrip("\n"))
        if image is None:
            sys.exit(f"{line.rstrip()}: cannot be read; give images that OpenCV can read")
        scale = width / image.shape[1]
        image = cv2.resize(image, (width, round(image.shape[0] * scale)), interpolation=cv2.INTER_AREA)
        started = time.perf_counter()
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()  # type: ignore[attr-defined]
        search.setBaseImage(image)
        if mode == "fast":
            search.switchToSelectiveSearchFast()
        else:
            search.switchToSelectiveSearchQuality()
        boxes = search.process()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "xywh": (boxes / scale).tolist()}), flush=True)


if __name__ == "__main__":
    main()
