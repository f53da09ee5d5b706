//! `ota-proto`.

use crate::bare::{input, number, text};
use core::hint::black_box;
use ota_proto::backoff::{Backoff, Ended};
use ota_proto::http::{Range, Request, Response, Url};
use ota_proto::json::Str;
use ota_proto::messages::{OfferError, OfferRef, Push};
use ota_proto::mqtt::{Client, Config, Qos};
use ota_proto::session::{self, Judge, Refusal, Session, StartUp};
use ota_proto::signon::server::{ClientId, parse_username};
use ota_proto::signon::{Credentials, Endpoint, SecureMode, SignMethod, SignOn};
use ota_proto::topics::Topic;

struct Rules;

impl Judge for Rules {
    fn judge(&mut self, offer: &OfferRef<'_>) -> Result<u32, Refusal> {
        black_box(offer);
        Ok(number())
    }
    fn keep(&mut self, url: &Str<'_>) -> Result<(), OfferError> {
        black_box(url.len());
        Ok(())
    }
}

pub fn probe() {
    let now = u64::from(number());
    let (mut rx, mut tx) = ([0; 256], [0; 256]);
    let mut client = Client::new(&mut rx, &mut tx, Config::DEFAULT);
    if let Ok(credentials) = Credentials::new(text(), text(), text(), text()) {
        black_box(Endpoint::new(&credentials, text()).is_ok());
        if let Ok(sign_on) = SignOn::new(&credentials, SignMethod::HmacSha256, SecureMode::Tcp) {
            let options = sign_on.connect_options(number() as u16, true);
            black_box(client.connect(&options, now).is_ok());
        }
    }
    client.receive(input());
    black_box(client.poll(now).is_ok());
    black_box(client.subscribe(&[(text(), Qos::AtLeastOnce)]).is_ok());
    black_box(client.publish(text(), input(), Qos::AtLeastOnce).is_ok());
    black_box(client.transmit());

    black_box(Topic::parse(text()));
    black_box(Backoff::new().next(Ended::NotConnected, number()));
    black_box(ClientId::parse(text()).is_ok());
    black_box(parse_username(text()).is_ok());
    black_box(Push::parse(input()).is_ok());

    let config = session::Config::new(text());
    let mut session = Session::new(config, StartUp::default(), number());
    session.connected(now);
    black_box(session.received(now, Topic::Upgrade, input(), &mut Rules));
    while let Some(action) = session.poll(now) {
        black_box(action);
    }

    let range = Range::from(number(), number());
    if let Ok(url) = Url::parse(text()) {
        black_box(Request::new(&url, range, text()).parts().count());
    }
    let mut response = Response::new(range, None);
    black_box(response.feed(input(), &mut [0; 64]).is_ok());
}
