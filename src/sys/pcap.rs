//! Opening an interface with libpcap. The pcap crate takes every warning for a failure, gives no error codes, and does
//! not look at what the setters return; from the open handle on it serves.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;

use pcap::{Active, Capture, Dead};

/// PCAP_ERRBUF_SIZE.
const ERROR_LEN: usize = 256;
/// PCAP_TSTAMP_PRECISION_NANO.
const NANOSECONDS: c_int = 1;
/// PCAP_ERROR.
const ERROR: c_int = -1;
/// PCAP_ERROR_NO_SUCH_DEVICE.
pub const NO_SUCH_DEVICE: c_int = -5;
/// PCAP_ERROR_PERM_DENIED.
pub const PERMISSION_DENIED: c_int = -8;
/// PCAP_ERROR_IFACE_NOT_UP.
pub const NOT_UP: c_int = -9;
/// PCAP_ERROR_PROMISC_PERM_DENIED.
pub const PROMISCUOUS_DENIED: c_int = -11;

unsafe extern "C" {
    fn pcap_create(device: *const c_char, error: *mut c_char) -> *mut c_void;
    fn pcap_open_dead(link_type: c_int, snap_len: c_int) -> *mut c_void;
    fn pcap_set_snaplen(handle: *mut c_void, bytes: c_int) -> c_int;
    fn pcap_set_promisc(handle: *mut c_void, on: c_int) -> c_int;
    fn pcap_set_timeout(handle: *mut c_void, milliseconds: c_int) -> c_int;
    fn pcap_set_buffer_size(handle: *mut c_void, bytes: c_int) -> c_int;
    fn pcap_set_tstamp_precision(handle: *mut c_void, precision: c_int) -> c_int;
    fn pcap_get_tstamp_precision(handle: *mut c_void) -> c_int;
    fn pcap_activate(handle: *mut c_void) -> c_int;
    fn pcap_geterr(handle: *mut c_void) -> *const c_char;
    fn pcap_statustostr(code: c_int) -> *const c_char;
    fn pcap_close(handle: *mut c_void);
}

/// How an interface is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// More of a frame is not captured.
    pub snap_len: i32,
    /// Size of the ring.
    pub buffer_bytes: i32,
    /// How long a packet waits in a block that is not full.
    pub timeout_milliseconds: i32,
    /// Frames for other hosts too.
    pub promiscuous: bool,
}

/// An interface that is open.
pub struct Opened {
    /// What reads it.
    pub capture: Capture<Active>,
    /// What libpcap could not do, but would go on without.
    pub warning: Option<String>,
    /// Time stamps are in nanoseconds, not microseconds.
    pub nanoseconds: bool,
}

/// Why it could not be opened.
#[derive(Debug)]
pub struct Failure {
    /// One of the constants above, or another of libpcap's.
    pub code: c_int,
    /// In libpcap's words.
    pub message: String,
}

/// A handle that is not open yet.
struct Handle(NonNull<c_void>);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the pointer is from pcap_create, and this is its only owner.
        unsafe { pcap_close(self.0.as_ptr()) }
    }
}

impl Handle {
    fn create(interface: &str) -> Result<Handle, Failure> {
        let Ok(device) = CString::new(interface) else {
            return Err(Failure { code: NO_SUCH_DEVICE, message: "a name with a zero byte".into() });
        };
        let mut error = [0_u8; ERROR_LEN];
        // SAFETY: the name ends with a zero, and the buffer has the length that libpcap asks for.
        let handle = unsafe { pcap_create(device.as_ptr(), error.as_mut_ptr().cast()) };
        NonNull::new(handle).map(Handle).ok_or_else(|| {
            let message = CStr::from_bytes_until_nul(&error).unwrap_or_default();
            Failure { code: ERROR, message: message.to_string_lossy().into_owned() }
        })
    }

    /// What a call returned, as a failure if it is one.
    fn check(&self, code: c_int) -> Result<c_int, Failure> {
        if code < 0 { Err(Failure { code, message: self.message(code) }) } else { Ok(code) }
    }

    /// libpcap's text for what a call returned.
    fn message(&self, code: c_int) -> String {
        // SAFETY: the handle is alive, and both functions return strings that end with a zero and live as long.
        let (specific, general) =
            unsafe { (CStr::from_ptr(pcap_geterr(self.0.as_ptr())), CStr::from_ptr(pcap_statustostr(code))) };
        let text = if specific.is_empty() { general } else { specific };
        text.to_string_lossy().into_owned()
    }
}

/// A handle to compile filters with; `None` when there is no memory. The crate's has a snap length of 65 535 bytes,
/// which its programs cut frames to.
pub fn dead(link_type: c_int, snap_len: c_int) -> Option<Capture<Dead>> {
    // SAFETY: any two numbers are allowed.
    let handle = unsafe { pcap_open_dead(link_type, snap_len) };
    NonNull::new(handle).map(|handle| Capture::from(handle.cast()))
}

/// Opens an interface.
pub fn open(interface: &str, open: Open) -> Result<Opened, Failure> {
    let handle = Handle::create(interface)?;
    let pointer = handle.0.as_ptr();
    // SAFETY: the handle is alive and not activated, which is all that the setters ask for.
    unsafe {
        handle.check(pcap_set_snaplen(pointer, open.snap_len))?;
        handle.check(pcap_set_buffer_size(pointer, open.buffer_bytes))?;
        handle.check(pcap_set_timeout(pointer, open.timeout_milliseconds))?;
        handle.check(pcap_set_promisc(pointer, open.promiscuous.into()))?;
        // Where there are no nanoseconds there are microseconds; which it is, is asked below.
        pcap_set_tstamp_precision(pointer, NANOSECONDS);
    }
    // SAFETY: as above.
    let code = handle.check(unsafe { pcap_activate(pointer) })?;
    let warning = (code > 0).then(|| handle.message(code));
    // SAFETY: the handle is alive.
    let nanoseconds = unsafe { pcap_get_tstamp_precision(pointer) } == NANOSECONDS;
    // The capture owns the handle from here on; the crate does not name the pointer's type, but infers it.
    let capture = Capture::<Active>::from(handle.0.cast());
    std::mem::forget(handle);
    Ok(Opened { capture, warning, nanoseconds })
}
