"""From files to samples: reading images, shards and COCO files, cropping and augmenting persons, their order."""
