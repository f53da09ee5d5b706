//! The JSON of devices, read leniently, and of the cloud, written as the real one does.

use crate::Package;
use crate::products::DEFAULT_MODULE;
use serde_json::{Map, Value, json};

/// What a device has sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Message {
    /// Number or text, given back as it came.
    pub id: Value,
    pub params: Map<String, Value>,
}

impl Message {
    /// Reads a payload. Some devices end it with NUL bytes.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, String> {
        let end = payload.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1);
        let text = payload.get(..end).unwrap_or_default();
        let value: Value =
            serde_json::from_slice(text).map_err(|e| format!("payload is not JSON: {e}"))?;
        let Value::Object(mut object) = value else {
            return Err("payload is not a JSON object".into());
        };
        let id = object.remove("id").unwrap_or(Value::from(0));
        if !(id.is_string() || id.is_number()) {
            return Err("`id` is neither number nor text".into());
        }
        match object.remove("params") {
            Some(Value::Object(params)) => Ok(Self { id, params }),
            None => Ok(Self {
                id,
                params: Map::new(),
            }),
            Some(_) => Err("`params` is not an object".into()),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.params.get(name).and_then(Value::as_str)
    }

    /// The module spoken of.
    pub(crate) fn module(&self) -> &str {
        self.text("module")
            .filter(|m| !m.is_empty())
            .unwrap_or(DEFAULT_MODULE)
    }

    /// The informed version.
    pub(crate) fn version(&self) -> Result<&str, String> {
        let v = self.text("version").ok_or("`params.version` is missing")?;
        if v.is_empty() || v.chars().count() > 64 {
            return Err("`params.version` must have 1 to 64 characters".into());
        }
        Ok(v)
    }

    /// The reported step (a number, or a number as text) and its words.
    pub(crate) fn step(&self) -> Result<(i32, &str), String> {
        let step = match self.params.get("step") {
            Some(Value::String(s)) => s.trim().parse().ok(),
            Some(v) => v.as_i64().and_then(|n| i32::try_from(n).ok()),
            None => None,
        };
        let step = step.ok_or("`params.step` is not a whole number")?;
        if step > 100 {
            return Err(format!("`params.step` is {step}, more than 100 percent"));
        }
        Ok((step, self.text("desc").unwrap_or("")))
    }
}

/// Address, version and digests of a package: the object `data`.
fn data(package: &Package, url: &str, version: &str, module: &str) -> Value {
    let mut data = json!({
        "size": package.size,
        "version": version,
        "url": url,
        "signMethod": package.method().as_str(),
        "sign": package.sign(),
    });
    let mut add = |key: &str, value: Value| data[key] = value;
    if package.method() == crate::Method::Md5 {
        // What devices older than `signMethod` look for.
        add("md5", json!(package.md5));
    }
    if let Some(sign) = &package.digestsign {
        add("digestsign", json!(sign));
    }
    if let Some(slice) = package.slice {
        add("isDiff", json!(1));
        add("splictSize", json!(slice));
    }
    if module != DEFAULT_MODULE {
        add("module", json!(module));
    }
    data
}

/// What is offered to a device.
pub(crate) struct Offer<'a> {
    pub package: &'a Package,
    pub url: &'a str,
    pub version: &'a str,
    pub module: &'a str,
}

/// The upgrade message, pushed or as the answer to `request`.
pub(crate) fn upgrade(id: &Value, offer: Option<&Offer<'_>>) -> String {
    json!({"code": "1000", "message": "success", "id": id, "data": body(offer)}).to_string()
}

/// The answer to `firmware/get`; without an offer `data` is empty.
pub(crate) fn get_reply(id: &Value, offer: Option<&Offer<'_>>) -> String {
    json!({"id": id, "code": 200, "data": body(offer)}).to_string()
}

fn body(offer: Option<&Offer<'_>>) -> Value {
    offer.map_or_else(
        || json!({}),
        |o| data(o.package, o.url, o.version, o.module),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    fn params(text: &str) -> Message {
        Message::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn payloads_seen_on_the_wire() {
        // uOTA's payload ends in NUL; ids are numbers or texts.
        let m = params("{\"id\":0,\"params\":{\"version\":\"app-1.0.0-20181225.1200\"}}\0");
        assert_eq!(m.version(), Ok("app-1.0.0-20181225.1200"));
        assert_eq!((m.module(), &m.id), ("default", &json!(0)));
        let m = params(r#"{"id": 1,"params": {"version":"2.0.0","module": "wifi"}}"#);
        assert_eq!((m.version(), m.module()), (Ok("2.0.0"), "wifi"));
        let m = params(r#"{"id":"7","params":{"version":"1"}}"#);
        assert_eq!(m.id, json!("7"));
        let m = params(r#"{"id":0,"params":{"step": "-3","desc":"verify failed"}}"#);
        assert_eq!(m.step(), Ok((-3, "verify failed")));
        assert_eq!(params(r#"{"params":{"step":55}}"#).step(), Ok((55, "")));
        assert_eq!(params(r#"{"id": 1, "params": {}}"#).module(), "default");
        assert_eq!(params(r#"{"id": 1}"#).params.len(), 0);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for bad in [
            "",
            "\0",
            "[]",
            "{",
            "1",
            r#"{"id":{}}"#,
            r#"{"params":[]}"#,
            "\u{feff}{}",
        ] {
            assert!(Message::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Message::parse(&"[".repeat(100_000).into_bytes()).is_err());
        assert!(params("{}").version().unwrap_err().contains("version"));
        let long = format!(r#"{{"params":{{"version":"{}"}}}}"#, "v".repeat(65));
        assert!(params(&long).version().is_err());
        for step in ["\"x\"", "null", "1.5", "101", "99999999999", "\"\""] {
            let text = format!(r#"{{"params":{{"step":{step}}}}}"#);
            assert!(params(&text).step().is_err(), "{step}");
        }
    }

    fn package(method: Method) -> Package {
        Package {
            id: 1,
            from_version: None,
            size: 42,
            md5: "aa".repeat(16),
            sha256: "bb".repeat(32),
            digestsign: None,
            slice: None,
            format: crate::Format::Plain,
            file: "x.bin".into(),
            method,
            blob: String::new(),
        }
    }

    fn parsed(p: &Package, module: &str) -> Value {
        let offer = Offer {
            package: p,
            url: "http://h/x",
            version: "2",
            module,
        };
        serde_json::from_str(&upgrade(&json!(5), Some(&offer))).unwrap()
    }

    #[test]
    fn upgrade_message_as_the_real_cloud_sends_it() {
        let v = parsed(&package(Method::Sha256), "default");
        let want = json!({"code": "1000", "message": "success", "id": 5, "data": {
            "size": 42, "version": "2", "url": "http://h/x",
            "signMethod": "SHA256", "sign": "bb".repeat(32)}});
        assert_eq!(v, want);
    }

    #[test]
    fn optional_fields_only_when_they_mean_something() {
        let mut p = package(Method::Md5);
        let v = parsed(&p, "default");
        assert_eq!(v["data"]["md5"], v["data"]["sign"]);
        assert_eq!(v["data"]["signMethod"], "Md5");
        p.digestsign = Some("c2ln".into());
        p.slice = Some(65536);
        let v = parsed(&p, "mcu");
        assert_eq!(v["data"]["digestsign"], "c2ln");
        assert_eq!(v["data"]["isDiff"], 1);
        assert_eq!(v["data"]["splictSize"], 65536);
        assert_eq!(v["data"]["module"], "mcu");
    }

    #[test]
    fn nothing_to_install_is_an_empty_object() {
        let v: Value = serde_json::from_str(&get_reply(&json!("9"), None)).unwrap();
        assert_eq!(v, json!({"id": "9", "code": 200, "data": {}}));
    }
}
