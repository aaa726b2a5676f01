//! The resolver library's name of a host.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString},
    ptr,
};

/// The canonical name that getaddrinfo finds for `host`. It may take as long as the resolver library likes.
pub(crate) fn canonical_name(host: &str) -> Option<String> {
    let host = CString::new(host).ok()?;
    // SAFETY: addrinfo is plain old data for which all zeroes, null pointers included, is a value.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_flags = libc::AI_CANONNAME;
    hints.ai_socktype = libc::SOCK_DGRAM; // one entry an address, not one for every protocol
    let mut list = ptr::null_mut();
    // SAFETY: `host` ends in NUL, no service is asked for, `hints` and `list` live through the call.
    let code = unsafe { libc::getaddrinfo(host.as_ptr(), ptr::null(), &raw const hints, &raw mut list) };
    if code != 0 || list.is_null() {
        return None;
    }
    // SAFETY: getaddrinfo succeeded, so `list` points to its first entry, the one that has the name.
    let name = unsafe { (*list).ai_canonname };
    let found = (!name.is_null()).then(|| {
        // SAFETY: a canonical name that is there ends in NUL and lives until freeaddrinfo.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    });
    // SAFETY: `list` came from getaddrinfo and is freed once; `found` is a copy.
    unsafe { libc::freeaddrinfo(list) };
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_its_own_canonical_name() {
        assert_eq!(canonical_name("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(canonical_name("a\0b"), None);
    }
}
