"""Face detectors and landmark models, one file per family: arrays in, arrays out."""
