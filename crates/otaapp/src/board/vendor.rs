//! A vendor's Wi-Fi library as a link: the C functions of `include/uota_link.h`.

use super::link::Link;
use core::ffi::{CStr, c_char, c_int};

unsafe extern "C" {
    fn uota_link_address(address: *mut u8);
    fn uota_link_connect(ssid: *const c_char, password: *const c_char) -> c_int;
    fn uota_link_disconnect();
    fn uota_link_is_up() -> c_int;
    fn uota_link_send(frame: *const u8, length: usize) -> c_int;
    fn uota_link_recv(frame: *mut u8, room: usize) -> usize;
}

/// Longest SSID or password with its NUL.
const TEXT: usize = 65;

/// The library behind `include/uota_link.h`. There is one, so make one of these.
pub struct VendorLink {
    address: [u8; 6],
}

impl VendorLink {
    /// Asks the library for its address.
    #[must_use]
    #[allow(clippy::new_without_default)] // one per program
    pub fn new() -> Self {
        let mut address = [0; 6];
        // SAFETY: the header promises that six bytes are written.
        unsafe { uota_link_address(address.as_mut_ptr()) };
        Self { address }
    }
}

/// `text` with a NUL behind it.
fn terminated<'r>(text: &str, room: &'r mut [u8; TEXT]) -> Option<&'r CStr> {
    room.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    let with_nul = room.get_mut(..=text.len())?;
    *with_nul.last_mut()? = 0;
    CStr::from_bytes_with_nul(with_nul).ok()
}

impl Link for VendorLink {
    fn hardware_address(&self) -> Option<[u8; 6]> {
        Some(self.address)
    }

    fn connect(&mut self, ssid: &str, password: &str) -> bool {
        let (mut first, mut second) = ([0; TEXT], [0; TEXT]);
        let ssid = terminated(ssid, &mut first);
        let password = terminated(password, &mut second);
        let (Some(ssid), Some(password)) = (ssid, password) else {
            return false;
        };
        // SAFETY: both end in a NUL and live until the call returns.
        unsafe { uota_link_connect(ssid.as_ptr(), password.as_ptr()) == 0 }
    }

    fn disconnect(&mut self) {
        // SAFETY: no arguments.
        unsafe { uota_link_disconnect() };
    }

    fn is_up(&mut self) -> bool {
        // SAFETY: no arguments.
        unsafe { uota_link_is_up() != 0 }
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        // SAFETY: `frame` is readable for its length during the call.
        unsafe { uota_link_send(frame.as_ptr(), frame.len()) == 0 }
    }

    fn receive(&mut self, frame: &mut [u8]) -> Option<usize> {
        // SAFETY: `frame` is writable for its length during the call.
        let length = unsafe { uota_link_recv(frame.as_mut_ptr(), frame.len()) };
        (1..=frame.len()).contains(&length).then_some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A library in which what is sent comes back, reversed.
    #[derive(Default)]
    struct Library {
        joined: Option<(String, String)>,
        frames: Vec<Vec<u8>>,
    }

    static LIBRARY: Mutex<Library> = Mutex::new(Library {
        joined: None,
        frames: Vec::new(),
    });

    #[unsafe(no_mangle)]
    unsafe extern "C" fn uota_link_address(address: *mut u8) {
        // SAFETY: six bytes, says the header.
        unsafe { core::slice::from_raw_parts_mut(address, 6) }.copy_from_slice(b"\x02uota\0");
    }
    #[unsafe(no_mangle)]
    unsafe extern "C" fn uota_link_connect(ssid: *const c_char, password: *const c_char) -> c_int {
        // SAFETY: both end in a NUL, says the header.
        let text = |p| unsafe { CStr::from_ptr(p) }.to_str().unwrap().to_owned();
        let joined = (text(ssid), text(password));
        let refused = joined.0.is_empty();
        LIBRARY.lock().unwrap().joined = Some(joined);
        c_int::from(refused)
    }
    #[unsafe(no_mangle)]
    extern "C" fn uota_link_disconnect() {
        LIBRARY.lock().unwrap().joined = None;
    }
    #[unsafe(no_mangle)]
    extern "C" fn uota_link_is_up() -> c_int {
        LIBRARY.lock().unwrap().joined.is_some().into()
    }
    #[unsafe(no_mangle)]
    unsafe extern "C" fn uota_link_send(frame: *const u8, length: usize) -> c_int {
        // SAFETY: readable, says the header.
        let frame = unsafe { core::slice::from_raw_parts(frame, length) };
        let mut library = LIBRARY.lock().unwrap();
        library.frames.push(frame.iter().rev().copied().collect());
        0
    }
    #[unsafe(no_mangle)]
    unsafe extern "C" fn uota_link_recv(frame: *mut u8, room: usize) -> usize {
        let Some(bytes) = LIBRARY.lock().unwrap().frames.pop() else {
            return 0;
        };
        let len = bytes.len().min(room);
        // SAFETY: writable, says the header.
        unsafe { core::slice::from_raw_parts_mut(frame, len) }.copy_from_slice(&bytes[..len]);
        bytes.len()
    }

    #[test]
    fn calls_reach_the_library() {
        let mut link = VendorLink::new();
        assert_eq!(link.hardware_address(), Some(*b"\x02uota\0"));
        assert!(!link.is_up());
        assert!(!link.connect("", ""));
        assert!(link.connect("home", &"p".repeat(64)));
        let joined = LIBRARY.lock().unwrap().joined.clone();
        assert_eq!(joined, Some(("home".into(), "p".repeat(64))));
        assert!(!link.connect(&"s".repeat(65), ""));
        assert!(link.is_up());
        assert!(link.send(b"abc"));
        let mut room = [0; 8];
        assert_eq!(link.receive(&mut room), Some(3));
        assert_eq!(&room[..3], b"cba");
        assert_eq!(link.receive(&mut room), None);
        // A library that says more than there is room for is not believed.
        assert!(link.send(b"123456789"));
        assert_eq!(link.receive(&mut room), None);
        link.disconnect();
        assert!(!link.is_up());
    }
}
