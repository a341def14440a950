"""Pictures in, arrays out, and back: decode, align, draw."""
