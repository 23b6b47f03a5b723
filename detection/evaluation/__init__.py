"""How good detections are: the numbers of COCO, VOC and ILSVRC, and the report that shows them."""
