"""Pins as other programs write them: one module for each format, each with `read` and, where it can hold them, `write`. Pure.

Rules of this folder:
- What a format says and we do not carry, or carry in another way, is a note; what cannot be read is a problem with its line.
  Nothing is dropped in silence, in either direction.
- A file that has a problem gives no pins at all: half of an imported set is an outage, or a hole, that waits.
"""
