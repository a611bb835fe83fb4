//! How numbers are written on the other side of a trunk: rules by their beginning, the first that fits.

use crate::limits::{NUMBER_CHARACTERS_MAX, NUMBER_RULES_MAX};

/// What becomes of numbers that begin in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberRule {
    /// Numbers that begin so. Empty: all of them.
    pub prefix: String,
    /// And that have so many signs, at least and at most. None: however many.
    pub length: Option<(usize, usize)>,
    /// So many signs are taken from the beginning.
    pub strip: usize,
    /// And this is put there.
    pub add: String,
}

impl NumberRule {
    /// For numbers of any length.
    pub fn new(prefix: &str, strip: usize, add: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            length: None,
            strip,
            add: add.to_owned(),
        }
    }

    fn fits(&self, number: &str, length: usize) -> bool {
        let is_long_enough = self.length.is_none_or(|(least, most)| (least..=most).contains(&length));
        is_long_enough && number.starts_with(&self.prefix)
    }
}

/// Several rules, in their order. None: numbers stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberRules(Vec<NumberRule>);

/// More than [`NUMBER_RULES_MAX`] rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {NUMBER_RULES_MAX} rules for numbers")]
pub struct TooManyRules;

impl NumberRules {
    /// Of rules in their order.
    ///
    /// # Errors
    /// There are too many.
    pub fn new(rules: Vec<NumberRule>) -> Result<Self, TooManyRules> {
        if rules.len() > NUMBER_RULES_MAX {
            return Err(TooManyRules);
        }
        Ok(Self(rules))
    }

    /// To E.164 with its plus, from how numbers are dialled in a country: `to_e164("49", "00", "0")` makes `030123456`
    /// and `004930123456` both `+4930123456`. Numbers that have neither prefix are of the house, and stay.
    pub fn to_e164(country: &str, international: &str, national: &str) -> Self {
        let mut rules = vec![NumberRule::new("+", 0, "")];
        // The longer one may begin with the shorter one.
        for (prefix, add) in [(international, "+".to_owned()), (national, format!("+{country}"))] {
            if !prefix.is_empty() {
                rules.push(NumberRule::new(prefix, prefix.chars().count(), &add));
            }
        }
        rules[1..].sort_by_key(|rule| std::cmp::Reverse(rule.prefix.len()));
        Self(rules)
    }

    /// The way back: from E.164 to how numbers are dialled in a country.
    pub fn from_e164(country: &str, international: &str, national: &str) -> Self {
        let own = format!("+{country}");
        let strip = own.chars().count();
        Self(vec![
            NumberRule::new(&own, strip, national),
            NumberRule::new("+", 1, international),
        ])
    }

    /// A number as it is written on the other side. What separates its digits for people is left out.
    pub fn translate(&self, number: &str) -> String {
        let number = without_separators(number);
        let length = number.chars().count();
        let rule = self.0.iter().find(|rule| rule.fits(&number, length));
        match rule.filter(|_| length <= NUMBER_CHARACTERS_MAX) {
            Some(rule) => rule.add.chars().chain(number.chars().skip(rule.strip)).collect(),
            None => number,
        }
    }
}

/// Of what is a number, and no name (RFC 3966, section 5.1.1).
fn without_separators(number: &str) -> String {
    let is_separator = |sign: char| "-.() /".contains(sign);
    let is_of_number = |sign: char| sign.is_ascii_digit() || "+*#".contains(sign) || is_separator(sign);
    if number.chars().all(is_of_number) {
        number.chars().filter(|sign| !is_separator(*sign)).collect()
    } else {
        number.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_country_become_e164_and_back() {
        let (out, back) = (
            NumberRules::to_e164("49", "00", "0"),
            NumberRules::from_e164("49", "00", "0"),
        );
        for (dialled, written, again) in [
            ("030 1234-56", "+4930123456", "030123456"),
            ("004930123456", "+4930123456", "030123456"),
            ("0043 1 58858", "+43158858", "0043158858"),
            ("+1 (201) 555-0123", "+12015550123", "0012015550123"),
            ("1001", "1001", "1001"),
            ("alice", "alice", "alice"),
            ("j.doe-2", "j.doe-2", "j.doe-2"),
            ("*21#", "*21#", "*21#"),
            ("", "", ""),
        ] {
            assert_eq!(out.translate(dialled), written, "{dialled}");
            assert_eq!(back.translate(written), again, "{written}");
        }
        // No prefix within the country.
        let italian = NumberRules::from_e164("39", "00", "");
        assert_eq!(italian.translate("+390612345"), "0612345");
        assert_eq!(NumberRules::to_e164("39", "00", "").translate("0612345"), "0612345");
        // One that is the beginning of the other.
        assert_eq!(NumberRules::to_e164("7", "810", "8").translate("8104912"), "+4912");
        assert_eq!(NumberRules::to_e164("7", "810", "8").translate("84951234"), "+74951234");
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let short = NumberRule {
            length: Some((2, 4)),
            ..NumberRule::new("", 0, "+4930123")
        };
        let rules = NumberRules::new(vec![NumberRule::new("9", 1, ""), short, NumberRule::new("0", 99, "x")]);
        let rules = rules.expect("few");
        assert_eq!(rules.translate("9110"), "110");
        assert_eq!(rules.translate("1001"), "+49301231001");
        assert_eq!(rules.translate("10017"), "10017");
        assert_eq!(rules.translate("012345"), "x");
        let long = format!("9{}", "1".repeat(NUMBER_CHARACTERS_MAX));
        assert_eq!(rules.translate(&long), long, "it is no number");
        assert_eq!(
            NumberRules::new(vec![NumberRule::new("", 0, ""); NUMBER_RULES_MAX + 1]),
            Err(TooManyRules)
        );
    }
}
