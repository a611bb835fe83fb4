//! A run of the program that is over, and what it has said.

use serde_json::Value;

pub(crate) struct Finished {
    pub(crate) status: Option<i32>,
    pub(crate) text: String,
    pub(crate) report: Value,
}

impl Finished {
    /// Of the file that `--json` named.
    pub(crate) fn read(status: Option<i32>, text: String, report: &std::path::Path) -> Self {
        let report = std::fs::read_to_string(report).unwrap_or_else(|error| panic!("{error}: {text}"));
        Self {
            status,
            report: serde_json::from_str(&report).unwrap(),
            text,
        }
    }

    pub(crate) fn count(&self, key: &str) -> u64 {
        self.report[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {}", self.text))
    }

    pub(crate) fn phones(&self, key: &str) -> u64 {
        self.report["phones"][key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {}", self.text))
    }

    /// Each frame has one fate.
    pub(crate) fn assert_adds_up(&self) {
        let fates = ["delivered", "late", "lost", "skipped", "corrupt"];
        let sum: u64 = fates.iter().map(|fate| self.count(&format!("frames_{fate}"))).sum();
        assert_eq!(sum, self.count("frames_expected"), "{}", self.text);
        let offered = self.count("frames_expected") + self.count("frames_not_owed");
        assert_eq!(offered, self.count("frames_offered"), "{}", self.text);
    }
}
