//! The download's loop: one range after the other, straight into the sink.

// The arguments of an `async fn` take their room twice, those of a block do not.
#![allow(clippy::manual_async_fn)]

use core::convert::Infallible;
use core::pin::pin;

use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use embedded_io_async::{Read, Write};
use ota_delta::PackageKind;
use ota_proto::http::{
    self, Event as HttpEvent, HttpError, MAX_REDIRECTS, Range, Request, Response, Scheme, Url,
    UrlError, Validator,
};
use ota_proto::mqtt::Client;
use ota_proto::session::{Cause, DownloadError, DownloadEvent};
use ota_verify::{Digest, Hasher};

use crate::Security;
use crate::agent::Running;
use crate::event::{Event, Observer};
use crate::seams::{
    BootRequest, Clock, Connect, DECODED, ResumeStore, Rng, SinkError, UpdateSink, VerifyImage,
};

/// What the session asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub offset: u32,
    pub fresh: bool,
}

const USER_AGENT: &str = concat!("uota/", env!("CARGO_PKG_VERSION"));

/// Bytes hashed between two looks at the network while a stored part is read again.
const REREAD: u32 = 4096;

/// A download on its way.
struct Transfer {
    /// Bytes of the package.
    size: u32,
    /// The next byte wanted.
    at: u32,
    /// Recorded as stored.
    recorded: u32,
    hasher: Hasher,
    validator: Option<Validator>,
    redirects: u8,
    /// Digest of the package, as offered.
    offered: Digest,
    /// The first bytes, until they are enough to tell what the package is.
    first: [u8; PackageKind::DETECT_LEN],
    told: bool,
}

/// How a response ended.
enum Answer {
    /// The range is complete.
    Done { keep_alive: bool },
    /// Another address is to be asked.
    Elsewhere,
}

impl<'r, C, K, R, S, B, O> Running<'r, '_, C, K, R, S, B, O>
where
    C: Connect,
    K: Clock,
    R: Rng,
    S: UpdateSink + VerifyImage,
    B: BootRequest + ResumeStore,
    O: Observer,
{
    /// Serves one job after the other.
    pub(crate) fn downloads(&self, body: &mut [u8]) -> impl Future<Output = Infallible> {
        async move {
            let mut kept = None;
            loop {
                self.for_download.wait().await;
                let Some(job) = self.job.take() else { continue };
                // Whatever was aborted before this job was another one.
                self.aborted.clear();
                let ended = {
                    let download = pin!(self.download(job, body, &mut kept));
                    // The abort first: what an aborted download did meanwhile is nobody's business.
                    select(self.aborted.wait(), download).await
                };
                let Either::Second(result) = ended else {
                    kept = None;
                    // What the session does next may be there already.
                    self.for_download.notify();
                    continue;
                };
                self.computed.set(result.ok());
                self.observe(Event::DownloadEnded(result.map(|_| ())));
                let event = match result {
                    Ok(_) => DownloadEvent::Complete,
                    Err(e) => DownloadEvent::Failed(e),
                };
                let now = self.clock.now_ms();
                self.session.borrow_mut().download(now, event);
                if let (Err(e), None) = (result, self.session.borrow().offer()) {
                    self.observe(Event::Failed(Cause::Download(e)));
                }
                self.control.notify.notify();
            }
        }
    }

    /// Downloads what is missing. An attempt that the network ended is left in
    /// `kept`, for the next one to go on with: the sink still stands there.
    fn download(
        &self,
        job: Job,
        body: &mut [u8],
        kept: &mut Option<Transfer>,
    ) -> impl Future<Output = Result<Digest, DownloadError>> {
        async move {
            // An unfinished one stands where the session wants to go on.
            let offered = self.with_package(|package| package.digest);
            if !kept
                .as_ref()
                .is_some_and(|t| !job.fresh && t.at == job.offset && Some(t.offered) == offered)
            {
                *kept = None;
                let mut begun = self.begin(job)?;
                self.reread(&mut begun, body).await?;
                *kept = Some(begun);
            }
            let transfer = kept.as_mut().ok_or(DownloadError::ResumeLost)?;
            transfer.redirects = 0;
            let result = self.fetch(transfer, body).await;
            match result {
                Ok(()) => {}
                // What the sink holds now nobody knows.
                Err(
                    e @ (DownloadError::Flash
                    | DownloadError::Decode
                    | DownloadError::WrongBase
                    | DownloadError::Unsupported
                    | DownloadError::TooLarge),
                ) => {
                    *kept = None;
                    return Err(e);
                }
                Err(e) => {
                    // A fresh URL may lead to another server.
                    if matches!(e, DownloadError::Http(HttpError::Expired(_))) {
                        transfer.validator = None;
                    }
                    self.record(transfer, 1)?;
                    return Err(e);
                }
            }
            let mut transfer = kept.take().ok_or(DownloadError::ResumeLost)?;
            self.device.borrow_mut().sink.finish()?;
            self.record(&mut transfer, 1)?;
            Ok(transfer.hasher.finish())
        }
    }

    /// Asks for one window after the other.
    fn fetch(
        &self,
        transfer: &mut Transfer,
        body: &mut [u8],
    ) -> impl Future<Output = Result<(), DownloadError>> {
        async move {
            let mut stream = None;
            while transfer.at < transfer.size {
                let end = self.window_end(transfer);
                // No byte is in flight now: the time to erase.
                while self.device.borrow_mut().sink.prepare(end)? {
                    yield_now().await;
                }
                let range = Range {
                    start: transfer.at,
                    end,
                    size: transfer.size,
                };
                let reused = stream.is_some();
                let mut open = match stream.take() {
                    Some(open) => open,
                    None => self.open(body).await?,
                };
                let mut heard = false;
                let answer = self
                    .range(&mut open, range, transfer, body, &mut heard)
                    .await;
                self.client.borrow_mut().give_back();
                match answer {
                    Ok(Answer::Done { keep_alive: true }) => stream = Some(open),
                    Ok(Answer::Done { keep_alive: false }) => {}
                    Ok(Answer::Elsewhere) => {
                        transfer.redirects += 1;
                        if transfer.redirects > MAX_REDIRECTS {
                            return Err(DownloadError::TooManyRedirects);
                        }
                    }
                    // The server has closed an idle connection: no fault, ask again.
                    Err(_) if reused && !heard => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        }
    }

    /// Takes up what is stored, or starts a new record.
    fn begin(&self, job: Job) -> Result<Transfer, DownloadError> {
        self.with_package(|package| {
            let device = &mut *self.device.borrow_mut();
            let stored = match job.fresh {
                true => 0,
                // What was taken in is not all in flash.
                false => match device.boot.stored(package) {
                    image if image & DECODED != 0 => image,
                    stored => stored.min(job.offset),
                },
            };
            let at = device.sink.begin(package, stored)?;
            let recorded = device.sink.durable();
            if recorded == 0 {
                device.boot.begin(package)?;
            }
            device.observer.event(Event::Download {
                version: package.version,
                offset: at,
                size: package.size,
            });
            Ok(Transfer {
                size: package.size,
                at,
                recorded,
                offered: package.digest,
                first: [0; PackageKind::DETECT_LEN],
                told: at > 0,
                hasher: Hasher::new(package.digest.method()),
                validator: None,
                redirects: 0,
            })
        })
        .unwrap_or(Err(DownloadError::ResumeLost))
    }

    /// Hashes the stored part again: the digest must cover what is in flash.
    async fn reread(&self, transfer: &mut Transfer, body: &mut [u8]) -> Result<(), DownloadError> {
        let mut at = 0;
        while at < transfer.at {
            let len = (transfer.at - at).min(body.len() as u32);
            let chunk = body.get_mut(..len as usize).unwrap_or_default();
            self.device.borrow_mut().sink.read_back(at, chunk)?;
            transfer.hasher.update(chunk);
            if at / REREAD != (at + len) / REREAD {
                yield_now().await;
            }
            at += len;
        }
        Ok(())
    }

    fn window_end(&self, transfer: &Transfer) -> u32 {
        let window = match self.device.borrow().sink.peek() {
            0 => self.settings.window,
            peek => peek,
        };
        match window {
            0 => transfer.size,
            window => transfer.at.saturating_add(window).min(transfer.size),
        }
    }

    /// Connects to the server of the URL in hand.
    async fn open(&self, room: &mut [u8]) -> Result<C::Stream<'r>, DownloadError> {
        let (len, port, security) = {
            let client = self.client.borrow();
            let url = url(&client)?;
            let host = url.host.as_bytes();
            room.get_mut(..host.len())
                .ok_or(DownloadError::Url(UrlError::TooLong))?
                .copy_from_slice(host);
            // Judged with the offer; a redirect may have led from http to https.
            let (port, security) = match url.scheme {
                Scheme::Http => (url.port, Security::Plain),
                Scheme::Https if self.net.has_tls() => (url.port, Security::Tls),
                Scheme::Https => {
                    let allowed = self.settings.policy.check_plain_download();
                    allowed.map_err(|_| DownloadError::NoTls)?;
                    let default = Scheme::Https.default_port();
                    let plain = Scheme::Http.default_port();
                    let port = if url.port == default { plain } else { url.port };
                    (port, Security::Plain)
                }
            };
            (host.len(), port, security)
        };
        let host = room.get(..len).and_then(|h| core::str::from_utf8(h).ok());
        let host = host.unwrap_or_default();
        let connect = pin!(self.net.connect(host, port, security));
        match self.within_stall(connect).await {
            Some(Ok(stream)) => Ok(stream),
            Some(Err(failure)) => Err(failure.into()),
            None => Err(DownloadError::TimedOut),
        }
    }

    /// Asks for one range and takes in the answer.
    fn range(
        &self,
        stream: &mut C::Stream<'r>,
        range: Range,
        transfer: &mut Transfer,
        body: &mut [u8],
        heard: &mut bool,
    ) -> impl Future<Output = Result<Answer, DownloadError>> {
        async move {
            self.ask(stream, range, body).await?;
            let mut response = Response::new(range, transfer.validator);
            loop {
                let read = match self.within_stall(pin!(stream.read(body))).await {
                    Some(Ok(read)) => read,
                    Some(Err(_)) => return Err(DownloadError::Reset),
                    None => return Err(DownloadError::TimedOut),
                };
                if read == 0 {
                    let end = response.close().map_err(DownloadError::Http)?;
                    return self.ended(end, false);
                }
                *heard = true;
                let mut input = body.get(..read).unwrap_or_default();
                loop {
                    let (used, event) = {
                        let mut client = self.client.borrow_mut();
                        let location = match response.in_head() {
                            true => client.lend(),
                            false => &mut [],
                        };
                        let step = response.feed(input, location);
                        if !response.holds_location() {
                            client.give_back();
                        }
                        step.map_err(DownloadError::Http)?
                    };
                    input = input.get(used..).unwrap_or_default();
                    match event {
                        HttpEvent::More => break,
                        HttpEvent::Head(head) => {
                            transfer.validator = head.validator.or(transfer.validator);
                        }
                        HttpEvent::Body(bytes) => self.take(transfer, bytes)?,
                        end => return self.ended(end, response.keep_alive()),
                    }
                }
            }
        }
    }

    fn ended(&self, end: HttpEvent<'_>, keep_alive: bool) -> Result<Answer, DownloadError> {
        let HttpEvent::Redirect(len) = end else {
            return Ok(Answer::Done { keep_alive });
        };
        let mut client = self.client.borrow_mut();
        client
            .replace_kept(|old, room| {
                let old = core::str::from_utf8(old).map_err(|_| UrlError::Character)?;
                http::follow(&Url::parse(old)?, room, len)
            })
            .map_err(DownloadError::Url)?;
        // Packets may be read again.
        self.control.notify.notify();
        Ok(Answer::Elsewhere)
    }

    /// Sends the request, which is longer than any buffer, in pieces.
    async fn ask(
        &self,
        stream: &mut C::Stream<'r>,
        range: Range,
        room: &mut [u8],
    ) -> Result<(), DownloadError> {
        let mut sent = 0;
        loop {
            let len = {
                let client = self.client.borrow();
                let url = url(&client)?;
                if sent == 0 {
                    self.observe(Event::Request {
                        host: url.host,
                        offset: range.start,
                    });
                }
                piece(&Request::new(&url, range, USER_AGENT), sent, room)
            };
            if len == 0 {
                break;
            }
            let write = pin!(stream.write_all(room.get(..len).unwrap_or_default()));
            self.sent(self.within_stall(write).await)?;
            sent += len;
        }
        self.sent(self.within_stall(pin!(stream.flush())).await)
    }

    fn sent<E>(&self, result: Option<Result<(), E>>) -> Result<(), DownloadError> {
        match result {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(DownloadError::Reset),
            None => Err(DownloadError::TimedOut),
        }
    }

    /// Takes in bytes of the package.
    fn take(&self, transfer: &mut Transfer, bytes: &[u8]) -> Result<(), DownloadError> {
        transfer.hasher.update(bytes);
        let (before, size) = (transfer.at, transfer.size);
        transfer.at = before.saturating_add(bytes.len() as u32);
        if transfer.told {
            self.device.borrow_mut().sink.write(bytes)?;
        } else {
            self.tell_kind(transfer, before, bytes)?;
        }
        self.record(transfer, self.settings.checkpoint.max(1))?;
        let done = transfer.at;
        self.observe(Event::Progress { done, size });
        let now = self.clock.now_ms();
        let mut session = self.session.borrow_mut();
        session.download(now, DownloadEvent::Progress(done));
        // Often enough for the session's percents, seldom enough for the broker's loop.
        let step = (size >> 7).max(1);
        if before / step != done / step {
            self.control.notify.notify();
        }
        Ok(())
    }

    /// Holds the first bytes back until they show what the package is.
    fn tell_kind(
        &self,
        transfer: &mut Transfer,
        at: u32,
        bytes: &[u8],
    ) -> Result<(), DownloadError> {
        let room = transfer.first.get_mut(at as usize..).unwrap_or_default();
        let held = room.len().min(bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        if transfer.at < transfer.size.min(PackageKind::DETECT_LEN as u32) {
            return Ok(());
        }
        transfer.told = true;
        let first = transfer.first.get(..at as usize + held).unwrap_or_default();
        let kind = PackageKind::detect(first);
        let known = self.with_package(|package| {
            let device = &mut *self.device.borrow_mut();
            device.sink.accept(package, kind)?;
            let kept = match device.sink.durable() {
                image if image & DECODED != 0 => image & !DECODED,
                _ => 0,
            };
            device.observer.event(Event::Package { kind, kept });
            device.sink.write(first)?;
            device.sink.write(bytes.get(held..).unwrap_or_default())
        });
        Ok(known.unwrap_or(Err(SinkError::Decode))?)
    }

    /// Records how far the download got, every `least` bytes.
    fn record(&self, transfer: &mut Transfer, least: u32) -> Result<(), DownloadError> {
        let device = &mut *self.device.borrow_mut();
        let durable = device.sink.durable();
        if durable.saturating_sub(transfer.recorded) >= least {
            device.boot.advance(durable)?;
            transfer.recorded = durable;
        }
        Ok(())
    }
}

/// Copies what stands behind the first `skip` bytes of the request into `room`.
fn piece(request: &Request<'_>, mut skip: usize, room: &mut [u8]) -> usize {
    let mut filled = 0;
    for part in request.parts() {
        let Some(rest) = part.get(skip..) else {
            skip -= part.len();
            continue;
        };
        skip = 0;
        let free = room.get_mut(filled..).unwrap_or_default();
        for (to, from) in free.iter_mut().zip(rest) {
            *to = *from;
            filled += 1;
        }
    }
    filled
}

/// The URL of the package in hand.
fn url<'c>(client: &'c Client<'_>) -> Result<Url<'c>, DownloadError> {
    let text = core::str::from_utf8(client.kept()).map_err(|_| UrlError::Character);
    text.and_then(Url::parse).map_err(DownloadError::Url)
}
