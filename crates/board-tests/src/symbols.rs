//! Where things lie in a linked image: the list that `nm` makes of it.

use crate::images::file;

/// A function or object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// Bus address (of Thumb functions too: without the low bit).
    pub address: u32,
    /// Bytes, 0 where the list does not say.
    pub size: u32,
    /// As `nm` names it: `t` code, `b` statics, `r` constants ...
    pub kind: char,
    /// Demangled.
    pub name: String,
}

/// The symbols of `NAME.sym` in the folder of images.
///
/// # Panics
/// When the file is not there.
#[must_use]
pub fn read(name: &str) -> Vec<Symbol> {
    let text = String::from_utf8(file(&format!("{name}.sym"))).expect("text");
    text.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Symbol> {
    let (address, rest) = line.split_once(' ')?;
    let address = u32::from_str_radix(address, 16).ok()?;
    let (first, after) = rest.split_once(' ')?;
    let (size, kind, name) = match u32::from_str_radix(first, 16) {
        Ok(size) if first.len() == 8 => {
            let (kind, name) = after.split_once(' ')?;
            (size, kind, name)
        }
        _ => (0, first, after),
    };
    let kind = kind.chars().next()?;
    let code = matches!(kind, 't' | 'T');
    Some(Symbol {
        address: if code { address & !1 } else { address },
        size,
        kind,
        name: name.into(),
    })
}

/// The one symbol called `name`.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn address(symbols: &[Symbol], name: &str) -> u32 {
    let found = symbols.iter().find(|symbol| symbol.name == name);
    found.unwrap_or_else(|| panic!("no symbol {name}")).address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_nm() {
        let symbol = parse("00012345 000000a0 t <a::B as c::D>::e").unwrap();
        assert_eq!(
            (symbol.address, symbol.size, symbol.kind),
            (0x1_2344, 0xA0, 't')
        );
        assert_eq!(symbol.name, "<a::B as c::D>::e");
        let symbol = parse("00400020 B _ram_end").unwrap();
        assert_eq!((symbol.address, symbol.size), (0x40_0020, 0));
        assert_eq!(parse("         U missing"), None);
    }
}
