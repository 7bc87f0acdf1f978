"""Pure byte decoders: bytes in, plain values out, no files and no clock."""
