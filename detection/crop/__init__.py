"""The crop form of the region classifier: whole GoogLeNets over warped regions, as the 2014 entry had them."""
