//! Answers to what is typed.

use super::App;
use crate::board::command::{Command, CommandError, HELP};
use crate::board::hardware;
#[cfg(feature = "version-2")]
use crate::board::hardware::Millis;
use crate::board::saved::Saved;
use boot2::capability;
#[cfg(feature = "version-2")]
use ota_agent::Clock;
use ota_proto::signon::Credentials;
use ota_verify::Version;

impl App<'_> {
    pub(super) fn complain(&self, e: CommandError<'_>) {
        match e {
            CommandError::Unknown(name) => {
                let text = format_args!("{name}: no such command; try help");
                self.console.answer(text);
            }
            CommandError::Usage(usage) => self.console.answer(format_args!("usage: {usage}")),
            CommandError::Quote => self.console.answer(format_args!("a \" is not closed")),
        }
    }

    #[inline(never)]
    pub(super) fn command(&self, command: Command<'_>) {
        let console = self.console;
        match command {
            Command::Help => {
                for (name, what) in HELP {
                    console.answer(format_args!("{name:28} {what}"));
                }
            }
            Command::Version => self.show_version(),
            Command::Reboot => self.reboot(),
            Command::NetConnect { ssid, password } => {
                let (Ok(ssid), Ok(password)) = (ssid.try_into(), password.try_into()) else {
                    return console.answer(format_args!("ssid: at most 32 bytes, passwd: 64"));
                };
                {
                    let saved = &mut *self.saved.borrow_mut();
                    (saved.ssid, saved.password) = (ssid, password);
                }
                self.unsaved.set(true);
                self.join();
            }
            Command::NetStart if self.saved.borrow().has_network() => self.join(),
            Command::NetStart => {
                console.answer(format_args!("no network saved: netmgr connect ssid passwd"));
            }
            Command::NetStats => self.stats(),
            Command::NetClear => {
                {
                    let saved = &mut *self.saved.borrow_mut();
                    (saved.ssid, saved.password) = Default::default();
                }
                self.net.leave();
                self.changed();
            }
            Command::OtaApp {
                product_key,
                device_name,
                device_secret,
                product_secret,
                broker,
            } => {
                let texts = [product_key, device_name, device_secret, product_secret];
                self.identify(texts, broker.unwrap_or_default());
            }
            Command::OtaClear => {
                let saved = &mut *self.saved.borrow_mut();
                *saved = Saved {
                    ssid: saved.ssid.clone(),
                    password: saved.password.clone(),
                    ..Saved::default()
                };
                self.changed();
            }
            Command::OtaCheck if self.running.get() => self.control.check(),
            Command::OtaCancel if self.running.get() => self.control.cancel(),
            Command::OtaCheck | Command::OtaCancel => {
                console.answer(format_args!("not signed on: ota_app comes first"));
            }
            Command::OtaDiff => self.show_packages(),
            #[cfg(feature = "version-2")]
            Command::Uptime => {
                let seconds = (Millis.now_ms() / 1000) as u32;
                let (minutes, seconds) = (seconds / 60, seconds % 60);
                console.answer(format_args!("up {minutes} min {seconds} s"));
            }
        }
    }

    fn show_version(&self) {
        let version = self.version.as_ref().map_or("none", Version::as_str);
        self.console.answer(format_args!("app_version: {version}"));
        match &self.loader {
            Some(loader) => {
                let (name, bits) = (loader.version(), loader.capabilities);
                let text = format_args!("loader: {name}, capabilities {bits:#x}");
                self.console.answer(text);
            }
            None => self.console.answer(format_args!("loader: not boot2")),
        }
        let state = if self.confirmed.get() {
            "confirmed"
        } else {
            "not confirmed"
        };
        self.console.answer(format_args!("image: {state}"));
    }

    /// `ota_diff`: what an update may consist of.
    fn show_packages(&self) {
        let nbdiff = if self.loader_can(capability::PATCH_SWAP) {
            "stored, applied by the boot loader"
        } else {
            "no: the boot loader does not apply patches"
        };
        self.console.answer(format_args!("nbdiff : {nbdiff}"));
        for kind in ["ptr", "xz"] {
            let text = "applied while it is downloaded";
            self.console.answer(format_args!("{kind:6} : {text}"));
        }
    }

    fn stats(&self) {
        match self.net.addresses() {
            Some(a) => self.console.answer(format_args!("ip : {}", a.own)),
            None => self.console.answer(format_args!("no address")),
        }
        let (counts, lost) = (self.net.counts(), hardware::lost());
        self.console.answer(format_args!(
            "connections : {}, packets in : {}, out : {}, line overruns : {lost}",
            self.net.open(),
            counts.incoming,
            counts.outgoing,
        ));
    }

    fn identify(&self, texts: [&str; 4], broker: &str) {
        let [pk, dn, ds, ps] = texts;
        if let Err(e) = Credentials::new(pk, dn, ds, ps) {
            return self.console.answer(format_args!("{e}"));
        }
        let taken = (
            pk.try_into(),
            dn.try_into(),
            ds.try_into(),
            ps.try_into(),
            broker.try_into(),
        );
        let (Ok(pk), Ok(dn), Ok(ds), Ok(ps), Ok(broker)) = taken else {
            return self.console.answer(format_args!("an argument is too long"));
        };
        {
            let saved = &mut *self.saved.borrow_mut();
            saved.product_key = pk;
            saved.device_name = dn;
            saved.device_secret = ds;
            saved.product_secret = ps;
            saved.broker = broker;
        }
        if !self.had_address.get() {
            let text = "no network yet: netmgr connect ssid passwd";
            self.console.answer(format_args!("{text}"));
        }
        self.changed();
    }
}
