//! What is typed on the console, as commands.

/// A command of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// `help`
    Help,
    /// `version`
    Version,
    /// `reboot`
    Reboot,
    /// `netmgr connect ssid passwd`
    NetConnect {
        /// Name of the network.
        ssid: &'a str,
        /// Its password.
        password: &'a str,
    },
    /// `netmgr start`: with the network that is saved.
    NetStart,
    /// `netmgr stats`
    NetStats,
    /// `netmgr clear`: forgets the network.
    NetClear,
    /// `ota_app pk dn ds ps [host[:port]]`
    OtaApp {
        /// Product key.
        product_key: &'a str,
        /// Device name.
        device_name: &'a str,
        /// Device secret.
        device_secret: &'a str,
        /// Product secret.
        product_secret: &'a str,
        /// Broker, when it is not the platform's own.
        broker: Option<&'a str>,
    },
    /// `ota_app clear`: forgets who the device is.
    OtaClear,
    /// `ota_check`: asks the cloud for an update.
    OtaCheck,
    /// `ota_cancel`: gives up the update in hand.
    OtaCancel,
    /// `ota_diff`: which differential packages this build takes.
    OtaDiff,
    /// `uptime`: new in version 2.
    #[cfg(feature = "version-2")]
    Uptime,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandError<'a> {
    /// No command of this name.
    Unknown(&'a str),
    /// Wrong arguments; how it is called.
    Usage(&'static str),
    /// A `"` without its partner.
    Quote,
}

/// Usage of `netmgr`.
pub const NETMGR_USAGE: &str = "netmgr [connect ssid passwd|start|stats|clear]";
/// Usage of `ota_app`.
pub const OTA_APP_USAGE: &str = "ota_app productKey deviceName deviceSecret productSecret [host[:port]] | ota_app clear\r\n\
    Make sure network is ready to get IP address.";

/// What `help` shows: command and what it does.
pub const HELP: &[(&str, &str)] = &[
    ("help", "print this"),
    ("version", "versions of the application and the boot loader"),
    ("reboot", "reboot system"),
    ("netmgr connect ssid passwd", "join a network"),
    ("netmgr start", "join the saved network"),
    ("netmgr stats", "addresses and counters"),
    ("netmgr clear", "forget the network"),
    ("ota_app pk dn ds ps [host]", "sign on and serve updates"),
    ("ota_app clear", "forget the credentials"),
    ("ota_check", "ask the cloud for an update"),
    ("ota_cancel", "give up the update in hand"),
    ("ota_diff", "which differential packages are taken"),
    #[cfg(feature = "version-2")]
    ("uptime", "time since start"),
];

const MAX_WORDS: usize = 8;

/// Reads one line. `Ok(None)`: nothing but blanks.
///
/// Words are separated by blanks; a word in `"` may hold some. Command names
/// are taken in either case (AliOS knew both `ota_app` and `OTA_APP`).
///
/// # Errors
/// [`CommandError`], with how the command is called where that is known.
pub fn parse(line: &str) -> Result<Option<Command<'_>>, CommandError<'_>> {
    let mut words = [""; MAX_WORDS];
    let mut count = 0;
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, tail) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"').ok_or(CommandError::Quote)?
        } else {
            rest.split_once(char::is_whitespace).unwrap_or((rest, ""))
        };
        // Words beyond the last place are counted: no command has so many.
        if let Some(place) = words.get_mut(count) {
            *place = word;
        }
        count += 1;
        rest = tail.trim_start();
    }
    let Some(words) = words.get(..count) else {
        return Err(CommandError::Usage("at most 7 arguments"));
    };
    let Some((name, arguments)) = words.split_first() else {
        return Ok(None);
    };
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let alone = |command, usage| match arguments {
        [] => Ok(command),
        _ => Err(CommandError::Usage(usage)),
    };
    #[cfg(feature = "version-2")]
    if is("uptime") {
        return alone(Command::Uptime, "uptime").map(Some);
    }
    let command = if is("help") {
        alone(Command::Help, "help")?
    } else if is("version") {
        alone(Command::Version, "version")?
    } else if is("reboot") {
        alone(Command::Reboot, "reboot")?
    } else if is("ota_check") {
        alone(Command::OtaCheck, "ota_check")?
    } else if is("ota_cancel") {
        alone(Command::OtaCancel, "ota_cancel")?
    } else if is("ota_diff") {
        // AliOS's test command had arguments: they are of no use here.
        Command::OtaDiff
    } else if is("netmgr") {
        match *arguments {
            ["connect", ssid, password] => Command::NetConnect { ssid, password },
            ["start"] => Command::NetStart,
            ["stats"] => Command::NetStats,
            ["clear"] => Command::NetClear,
            _ => return Err(CommandError::Usage(NETMGR_USAGE)),
        }
    } else if is("ota_app") {
        match *arguments {
            ["clear"] => Command::OtaClear,
            [product_key, device_name, device_secret, product_secret] => Command::OtaApp {
                product_key,
                device_name,
                device_secret,
                product_secret,
                broker: None,
            },
            [
                product_key,
                device_name,
                device_secret,
                product_secret,
                broker,
            ] => Command::OtaApp {
                product_key,
                device_name,
                device_secret,
                product_secret,
                broker: Some(broker),
            },
            _ => return Err(CommandError::Usage(OTA_APP_USAGE)),
        }
    } else {
        return Err(CommandError::Unknown(name));
    };
    Ok(Some(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tutorial_lines() {
        assert_eq!(
            parse("netmgr connect home \"my pass word\"\r"),
            Ok(Some(Command::NetConnect {
                ssid: "home",
                password: "my pass word"
            }))
        );
        let ota = Command::OtaApp {
            product_key: "a1",
            device_name: "d",
            device_secret: "s",
            product_secret: "p",
            broker: None,
        };
        assert_eq!(parse("OTA_APP a1 d s p"), Ok(Some(ota)));
        assert_eq!(parse("  ota_app  a1 d\ts p "), Ok(Some(ota)));
        let Ok(Some(Command::OtaApp { broker, .. })) = parse("ota_app a1 d s p 10.0.2.2:1883")
        else {
            panic!("no broker")
        };
        assert_eq!(broker, Some("10.0.2.2:1883"));
        assert_eq!(parse("ota_diff 5 6"), Ok(Some(Command::OtaDiff)));
        assert_eq!(parse("   "), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(
            parse("ota_app a b c"),
            Err(CommandError::Usage(OTA_APP_USAGE))
        );
        assert_eq!(
            parse("netmgr connect x"),
            Err(CommandError::Usage(NETMGR_USAGE))
        );
        assert_eq!(parse("netmgr"), Err(CommandError::Usage(NETMGR_USAGE)));
        assert_eq!(parse("reboot now"), Err(CommandError::Usage("reboot")));
        assert_eq!(parse("flash all"), Err(CommandError::Unknown("flash")));
        assert_eq!(parse("netmgr connect \"x y"), Err(CommandError::Quote));
        assert!(matches!(
            parse("a b c d e f g h i j"),
            Err(CommandError::Usage(_))
        ));
    }

    #[test]
    fn help_names_every_command() {
        for (example, _) in HELP {
            let line = example.replace(" [host]", "");
            assert!(matches!(parse(&line), Ok(Some(_))), "{example}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_a_command_or_an_error(line in "\\PC{0,80}") {
            let _ = parse(&line);
        }
    }
}
