//! What the fuzz targets share: settings out of two bytes, a pipeline that checks itself, slow and obvious readers to
//! compare with, packets built from the fuzzer's choices.

pub mod choices;
pub mod hosts;
pub mod pipeline;
pub mod slow;
pub mod text;
