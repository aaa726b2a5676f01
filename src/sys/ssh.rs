//! libssh2's way to the network: only inside [`call`], and only so many bytes a call.
//!
//! Left to itself, libssh2 reads as long as there is something to read, keeps what nobody asked for, and talks to the
//! server when a handle is dropped, for as long as that takes.

use std::{
    cell::{Cell, RefCell},
    ffi::{c_char, c_int, c_void},
    io,
};

/// What is done at most in one [`call`], and what was.
#[derive(Clone, Copy, Default)]
struct Traffic {
    inside: bool,
    may_receive: usize,
    received: usize,
}

thread_local! {
    static TRAFFIC: Cell<Traffic> = const { Cell::new(Traffic { inside: false, may_receive: 0, received: 0 }) };
    static FAREWELL: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What came of a [`call`].
pub(crate) struct Called<T> {
    /// What the call returned.
    pub(crate) result: T,
    /// Bytes that came from the server.
    pub(crate) received: usize,
    /// What the server said when it ended the connection.
    pub(crate) farewell: Option<String>,
}

/// Lets `work` use prepared sessions. When `may_receive` bytes have come, libssh2 is told that there are no more for now.
pub(crate) fn call<T>(may_receive: usize, work: impl FnOnce() -> T) -> Called<T> {
    TRAFFIC.set(Traffic { inside: true, may_receive, received: 0 });
    let result = work();
    let Traffic { received, .. } = TRAFFIC.replace(Traffic::default());
    Called { result, received, farewell: FAREWELL.take() }
}

/// Prepares a session: outside of [`call`] its connection is a closed one, so that a drop waits for nobody.
pub(crate) fn prepare(session: &ssh2::Session) {
    let mut raw = session.raw();
    let session = (&raw mut *raw).cast::<c_void>();
    // SAFETY: the session is alive and locked, and each function has the type that libssh2.h gives for its number.
    unsafe {
        libssh2_session_callback_set2(session, CALLBACK_RECEIVE, receive as *const c_void);
        libssh2_session_callback_set2(session, CALLBACK_SEND, send as *const c_void);
        libssh2_session_callback_set2(session, CALLBACK_DISCONNECT, disconnect as *const c_void);
    }
}

/// LIBSSH2_CALLBACK_DISCONNECT, _SEND and _RECV in libssh2.h.
const CALLBACK_DISCONNECT: c_int = 2;
const CALLBACK_SEND: c_int = 5;
const CALLBACK_RECEIVE: c_int = 6;

unsafe extern "C" {
    fn libssh2_session_callback_set2(session: *mut c_void, kind: c_int, callback: *const c_void) -> *const c_void;
}

/// `LIBSSH2_RECV_FUNC`: an errno is returned with a minus.
extern "C" fn receive(
    socket: c_int,
    buffer: *mut c_void,
    length: usize,
    flags: c_int,
    _: *mut *mut c_void,
) -> libc::ssize_t {
    let mut traffic = TRAFFIC.get();
    if !traffic.inside {
        return -(libc::ECONNRESET as libc::ssize_t);
    }
    let length = length.min(traffic.may_receive);
    if length == 0 {
        return -(libc::EAGAIN as libc::ssize_t);
    }
    // SAFETY: libssh2 gives a buffer of at least `length` bytes.
    let result = unsafe { libc::recv(socket, buffer, length, flags) };
    let Ok(received) = usize::try_from(result) else { return minus_errno() };
    traffic.received += received;
    traffic.may_receive -= received;
    TRAFFIC.set(traffic);
    result
}

/// `LIBSSH2_SEND_FUNC`.
extern "C" fn send(
    socket: c_int,
    buffer: *const c_void,
    length: usize,
    flags: c_int,
    _: *mut *mut c_void,
) -> libc::ssize_t {
    if !TRAFFIC.get().inside {
        return -(libc::EPIPE as libc::ssize_t);
    }
    // SAFETY: libssh2 gives a buffer of `length` bytes.
    let result = unsafe { libc::send(socket, buffer, length, flags | libc::MSG_NOSIGNAL) };
    if result < 0 { minus_errno() } else { result }
}

/// libssh2 knows EAGAIN, and goes on after it.
fn minus_errno() -> libc::ssize_t {
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => -(libc::EAGAIN as libc::ssize_t),
        error => -(error.raw_os_error().unwrap_or(libc::EIO) as libc::ssize_t),
    }
}

/// `LIBSSH2_DISCONNECT_FUNC`; the text ends in no NUL.
extern "C" fn disconnect(
    _: *mut c_void,
    _: c_int,
    message: *const c_char,
    length: c_int,
    _: *const c_char,
    _: c_int,
    _: *mut *mut c_void,
) {
    let Ok(length @ 1..) = usize::try_from(length) else { return };
    if message.is_null() {
        return;
    }
    // SAFETY: libssh2 found `length` bytes there, in a packet that it keeps until this returns.
    let message = unsafe { std::slice::from_raw_parts(message.cast::<u8>(), length) };
    FAREWELL.set(Some(String::from_utf8_lossy(message).into_owned()));
}
