//! The files of telephone calls: readable, well-formed, kept from others.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use moqswitch_voicemail::Sound;

use crate::config::{CallsConfig, UploadConfig};
use crate::directory::{self, FileError};

use super::access;
use super::{API_KEYS, CALL_RECORDS, CALLERS, Check, DIALPLAN, RECORDINGS, Status, TRUNKS, VOICE_MAIL, WEBHOOKS};

pub(super) fn check(calls: Option<&CallsConfig>) -> Vec<Check> {
    let Some(calls) = calls else {
        let reason = "none: calls are not enabled";
        return vec![Check::new(CALLERS, Status::Pass, reason)];
    };
    vec![
        dialplan(calls),
        callers(calls),
        programs(calls),
        webhooks(calls),
        trunks(calls),
        records(calls),
        recordings(calls),
        voice_mail(calls),
    ]
}

/// Why calls would not start, of what is on the disk: for who takes them from another process.
pub(crate) fn find_obstacle(calls: &CallsConfig) -> Option<String> {
    let checks = [records(calls), recordings(calls), voice_mail(calls)];
    let failed = checks.into_iter().find(|check| check.status == Status::Fail)?;
    Some(format!("{}: {}", failed.name, failed.reason))
}

fn dialplan(calls: &CallsConfig) -> Check {
    let loaded = directory::dialplan(calls).map(|_| match &calls.dialplan {
        Some(path) => path.display().to_string(),
        None => "none: a number is that of its devices".to_owned(),
    });
    judged(DIALPLAN, loaded, &[&calls.dialplan], &[])
}

fn callers(calls: &CallsConfig) -> Check {
    let loaded = directory::entrance(calls).map(|entrance| {
        let mut ways = Vec::new();
        ways.extend(entrance.users.as_ref().map(|users| format!("{} users", users.len())));
        ways.extend(entrance.tokens.as_ref().map(|_| "tokens".to_owned()));
        ways.extend(calls.callback.as_ref().map(|url| format!("whom {url} lets in")));
        match ways.is_empty() {
            true => "whoever comes from this host".to_owned(),
            false => ways.join(", "),
        }
    });
    judged(CALLERS, loaded, &[&calls.users], &[&calls.tokens])
}

fn programs(calls: &CallsConfig) -> Check {
    let mediaswitch = calls.mediaswitch.as_ref().and_then(|own| own.key.clone());
    let read = directory::control_key(calls).and_then(|_| directory::programs(calls));
    let loaded = read.map(|(keys, tokens)| match (keys.len(), tokens) {
        (0, None) => "none: whoever comes from this host".to_owned(),
        (count, None) => format!("{count} keys"),
        (count, Some(_)) => format!("{count} keys, and tokens"),
    });
    judged(API_KEYS, loaded, &[&calls.keys], &[&calls.api_tokens, &mediaswitch])
}

fn webhooks(calls: &CallsConfig) -> Check {
    let loaded = directory::webhooks(calls).map(|webhooks| match webhooks.len() {
        0 => "none".to_owned(),
        count => count.to_string(),
    });
    judged(WEBHOOKS, loaded, &[&calls.webhooks], &[])
}

fn trunks(calls: &CallsConfig) -> Check {
    let path = calls.sip.as_ref().and_then(|sip| sip.trunks.clone());
    let plan = directory::trunks(calls);
    let without = plan
        .as_ref()
        .ok()
        .and_then(|plan| directory::without_way_in(calls, plan));
    let loaded = plan.map(|plan| match (plan.trunks.len(), plan.groups.len()) {
        (0, _) => "none".to_owned(),
        (trunks, 0) => trunks.to_string(),
        (trunks, groups) => format!("{trunks}, and {groups} groups of them"),
    });
    let judged = judged(TRUNKS, loaded, &[&path], &[]);
    match without.filter(|_| judged.status == Status::Pass) {
        Some(reason) => {
            Check::new(TRUNKS, Status::Warn, reason).advise("set `sip.tls`, and tell the carrier the address")
        }
        None => judged,
    }
}

/// The directory is made when it is not there; what is there has to be one that can be written.
fn records(calls: &CallsConfig) -> Check {
    let Some(directory) = &calls.records.directory else {
        return Check::new(
            CALL_RECORDS,
            Status::Pass,
            "in memory only, and lost when the switch stops",
        );
    };
    let there = directory
        .ancestors()
        .find(|path| std::fs::symlink_metadata(path).is_ok());
    match there.map(|path| (path, std::fs::metadata(path))) {
        Some((_, Ok(data))) if data.is_dir() => Check::new(CALL_RECORDS, Status::Pass, directory.display().to_string()),
        _ => Check::new(
            CALL_RECORDS,
            Status::Fail,
            format!("{} cannot be a directory", directory.display()),
        )
        .advise("see `calls.records` in the configuration"),
    }
}

/// How many there may be.
pub(super) fn recordings_at_once(calls: Option<&CallsConfig>) -> usize {
    let recording = calls.and_then(|calls| calls.recording.as_ref());
    recording.map_or(0, |recording| recording.calls_max)
}

/// The directory, or the one in which it will be made, has to be one that can be written; what is said in calls is nobody
/// else's.
fn recordings(calls: &CallsConfig) -> Check {
    let Some(recording) = &calls.recording else {
        return Check::new(RECORDINGS, Status::Pass, "none");
    };
    if let Some(Err(error)) = recording.upload.as_ref().map(UploadConfig::read_credentials) {
        let reason = format!("they cannot be uploaded: {error:#}");
        return Check::new(RECORDINGS, Status::Fail, reason).advise("see `recording.upload` in the configuration");
    }
    kept_in(RECORDINGS, &recording.directory, "recording.directory")
}

fn voice_mail(calls: &CallsConfig) -> Check {
    let Some(voicemail) = &calls.voicemail else {
        return Check::new(VOICE_MAIL, Status::Pass, "none");
    };
    if let Some(path) = &voicemail.greeting {
        let read = std::fs::read(path).map_err(|error| error.to_string());
        let sound = read.and_then(|file| Sound::read(&file).map_err(|error| error.to_string()));
        if let Err(error) = sound {
            let reason = format!("voicemail.greeting: {}: {error}", path.display());
            return Check::new(VOICE_MAIL, Status::Fail, reason).advise("a WAV file of 16 bits, or none");
        }
    }
    kept_in(VOICE_MAIL, &voicemail.directory, "voicemail.directory")
}

fn kept_in(name: &'static str, directory: &Path, setting: &str) -> Check {
    let there = directory
        .ancestors()
        .map(|path| {
            if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            }
        })
        .find(|path| std::fs::symlink_metadata(path).is_ok());
    let is_writable = |path: &Path| {
        let writes = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        path.is_dir() && rustix::fs::access(path, writes).is_ok()
    };
    if !there.is_some_and(is_writable) {
        let reason = format!("{} cannot be written", directory.display());
        return Check::new(name, Status::Fail, reason).advise(format!(
            "see `{setting}` in the configuration; with it the switch does not start"
        ));
    }
    if let Some(readers) = access::readers(directory) {
        let reason = format!("{} may be read by {readers}", directory.display());
        return Check::new(name, Status::Warn, reason).advise("chmod go-rwx");
    }
    Check::new(name, Status::Pass, directory.display().to_string())
}

/// `kept` are files that others may read but not write; `secret` those that nobody else may read.
fn judged(
    name: &'static str,
    loaded: Result<impl Display, FileError>,
    kept: &[&Option<PathBuf>],
    secret: &[&Option<PathBuf>],
) -> Check {
    let said = match loaded {
        Ok(said) => said.to_string(),
        Err(error) => {
            return Check::new(name, Status::Fail, error.to_string())
                .advise("correct it; the section on a phone system in the manual has examples");
        }
    };
    let files = kept.iter().chain(secret).filter_map(|path| path.as_deref());
    let open = files.filter_map(|path| Some((path, access::writers(path)?)));
    if let Some((path, access)) = open.max_by_key(|(_, access)| *access) {
        return Check::new(
            name,
            access.status(),
            format!("{} may be written by {access}", path.display()),
        )
        .advise("who writes there decides who calls whom: chmod go-w");
    }
    let mut secrets = secret.iter().filter_map(|path| path.as_deref());
    if let Some(path) = secrets.find(|path: &&Path| access::readers(path).is_some()) {
        return Check::new(
            name,
            Status::Warn,
            format!("{} is a secret, and others may read it", path.display()),
        )
        .advise("chmod go-rwx");
    }
    Check::new(name, Status::Pass, said)
}
