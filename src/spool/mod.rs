//! Containers to files: part file, rotation, publishing, recovery.
