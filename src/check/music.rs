//! Files of music and prompts: can each be played?

use crate::config::Config;
use crate::music;

use super::{Check, MUSIC, Status};

/// What cannot be played is left out, and keeps nothing else from being played.
pub(super) fn check(config: &Config) -> Check {
    let inspection = music::inspect(config);
    let said = match (inspection.music, inspection.prompts) {
        (0, 0) => "no files".to_owned(),
        (music, prompts) => format!("{music} of music, {prompts} prompts"),
    };
    if inspection.faults.is_empty() {
        return Check::new(MUSIC, Status::Pass, said);
    }
    let faults: Vec<String> = inspection.faults.iter().map(ToString::to_string).collect();
    Check::new(
        MUSIC,
        Status::Warn,
        format!("{said}; not played: {}", faults.join("; ")),
    )
    .advise(
        "convert them: `ffmpeg -i FILE -ac 1 -c:a libopus -b:a 40k NAME.ogg`; see `media.music` in the configuration",
    )
}
