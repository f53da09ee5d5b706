//! HTTP/1.1 client core for a ranged download, without sockets.
//!
//! [`Url`] takes a URL apart, [`Request`] gives the bytes of a `GET` piece by
//! piece (no buffer is needed however long the URL is), and [`Response`] reads
//! the answer from chunks of any size, handing body bytes out of the caller's
//! own buffer. What belongs to the range is judged here: the state of a
//! [`Response`] knows what was asked and says what went wrong in terms of the
//! download ([`HttpError`]).
//!
//! * `206` must start at the offset asked for, and name the size offered.
//! * `200` to a range request (the server ignores ranges): the bytes before the
//!   offset are received and dropped, so that nothing is written twice. The
//!   body then runs to the end of the package, beyond the range asked for
//!   ([`Head::ranged`]).
//! * `416` ends the download when everything is there already.
//! * Redirects are reported with their target; at most [`MAX_REDIRECTS`], and
//!   never from `https` to `http` ([`follow`]). The range is kept, since each
//!   request is made anew.
//! * `403` and `404`/`410` mean that the URL has expired: ask for a fresh one.
//! * Another `ETag` (or `Last-Modified`) than before: the file has changed,
//!   start at 0.
//! * An end of the connection before the end of the body is
//!   [`HttpError::ShortBody`]. A time-out is the caller's to report: it is
//!   never an end of file.
//!
//! ```
//! use ota_proto::http::{Event, Range, Request, Response, Url};
//!
//! let url = Url::parse("http://192.0.2.1:8080/fw.bin?Expires=9")?;
//! let range = Range { start: 2, end: 5, size: 5 };
//! let request = Request::new(&url, range, "uota/1");
//! let mut sent = Vec::new();
//! request.parts().for_each(|part| sent.extend_from_slice(part));
//! assert!(sent.starts_with(b"GET /fw.bin?Expires=9 HTTP/1.1\r\nHost: 192.0.2.1:8080\r\nRange: bytes=2-\r\n"));
//!
//! let mut response = Response::new(range, None);
//! let mut location = [0; 64];
//! let mut input = &b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/5\r\n\
//!     Content-Length: 3\r\n\r\ncde"[..];
//! let mut body = Vec::new();
//! loop {
//!     let (used, event) = response.feed(input, &mut location)?;
//!     input = &input[used..];
//!     match event {
//!         Event::More => unreachable!("read from the socket, or call close()"),
//!         Event::Head(head) => assert!(head.ranged),
//!         Event::Body(bytes) => body.extend_from_slice(bytes),
//!         Event::Redirect(_) => unreachable!(),
//!         Event::End => break,
//!     }
//! }
//! assert_eq!(body, b"cde");
//! assert!(response.keep_alive());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod head;
mod request;
mod response;
mod url;

pub use error::HttpError;
pub use request::{Range, Request};
pub use response::{Event, Head, Response, Validator};
pub(crate) use url::check_characters;
pub use url::{MAX_REDIRECTS, Scheme, Url, UrlError, follow};

#[cfg(test)]
mod tests;
