//! The part of protobuf that NMSG uses: varints, 32- and 64-bit fields, length-delimited bytes; proto2, nothing packed.
