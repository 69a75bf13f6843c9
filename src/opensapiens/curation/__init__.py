"""From a pile of web images to pretraining shards: score, select, pack, remove, report. See docs/curation.md."""
