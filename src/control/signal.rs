//! A signal by its name or number.

use std::fmt;
use std::str::FromStr;

/// A signal that exists here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalNumber(i32);

impl SignalNumber {
    /// Its number.
    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }
}

/// All that have a name.
fn named() -> impl Iterator<Item = (i32, &'static str)> {
    (1..=64).filter_map(|number| Some((number, signal_hook::low_level::signal_name(number)?)))
}

impl FromStr for SignalNumber {
    /// What is wrong with it.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let by_name = named().find(|(_, known)| known.strip_prefix("SIG") == Some(name)).map(|(number, _)| number);
        let by_number = || text.parse().ok().filter(|number| named().any(|(known, _)| known == *number));
        by_name.or_else(by_number).map(Self).ok_or_else(|| {
            let names: Vec<_> = named().filter_map(|(_, name)| name.strip_prefix("SIG")).collect();
            format!("there is no signal `{text}`; there are {}", names.join(", "))
        })
    }
}

impl fmt::Display for SignalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match signal_hook::low_level::signal_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_many_names() {
        for text in ["USR1", "SIGUSR1", "usr1", "10"] {
            assert_eq!(text.parse::<SignalNumber>().unwrap().to_string(), "SIGUSR1", "{text}");
        }
        for text in ["", "SIG", "USR3", "0", "34", "65", "-1", "9x"] {
            assert!(text.parse::<SignalNumber>().unwrap_err().contains("HUP"), "{text}");
        }
    }
}
