//! Queries over every file of records, the newest record first, on a thread of their own: a disk is waited for by nobody
//! but who asks.
//!
//! There is no index. Files follow each other in time, so that a query for a time reads those of that time; of the others a
//! line is parsed only when what is looked for stands in it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot;

use super::files;
use super::row::{Filter, Row};
use super::sums::{Brief, Sums};
use crate::limits::{RECORD_BYTES_MAX, SEARCH_BLOCK_BYTES, SEARCH_WAIT_MAX, SEARCHES_WAITING_MAX};

/// The way to the thread.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// Each with the moment at which its asker waits no more.
    questions: SyncSender<(Instant, Question)>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// As many wait as may.
    #[error("too many queries wait")]
    Busy,
    /// It took too long.
    #[error("the query takes too long: ask for a shorter time")]
    Late,
    /// The disk failed.
    #[error("the records cannot be read")]
    Failed,
}

type Answer<T> = oneshot::Sender<Result<T, NoAnswer>>;

#[derive(Debug)]
enum Question {
    List(Filter, usize, Answer<Vec<Arc<Row>>>),
    Sum(Filter, Sums, Answer<Sums>),
}

impl Search {
    /// Starts the thread. It ends with the last way to it.
    pub(super) fn start(directory: &Path) -> io::Result<Self> {
        let (questions, inbox) = sync_channel(SEARCHES_WAITING_MAX);
        let directory = directory.to_owned();
        thread::Builder::new()
            .name("records-search".to_owned())
            .spawn(move || serve(&directory, &inbox))?;
        Ok(Self { questions })
    }

    /// At most so many records that match, the newest first.
    pub(crate) async fn list(&self, filter: Filter, count: usize) -> Result<Vec<Arc<Row>>, NoAnswer> {
        self.ask(|answer| Question::List(filter, count, answer)).await
    }

    /// What those that match come to.
    pub(crate) async fn sum(&self, filter: Filter, sums: Sums) -> Result<Sums, NoAnswer> {
        self.ask(|answer| Question::Sum(filter, sums, answer)).await
    }

    async fn ask<T>(&self, question: impl FnOnce(Answer<T>) -> Question) -> Result<T, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let question = (Instant::now() + SEARCH_WAIT_MAX, question(answer));
        self.questions.try_send(question).map_err(|_| NoAnswer::Busy)?;
        answered.await.unwrap_or(Err(NoAnswer::Failed))
    }
}

fn serve(directory: &Path, inbox: &Receiver<(Instant, Question)>) {
    while let Ok((deadline, question)) = inbox.recv() {
        // Who asked may be gone by now.
        match question {
            Question::List(_, _, answer) if answer.is_closed() => {}
            Question::Sum(_, _, answer) if answer.is_closed() => {}
            Question::List(filter, count, answer) => {
                let mut rows = Vec::new();
                let looked = look(directory, &filter, deadline, |line| {
                    let value = serde_json::from_str(line).unwrap_or_default();
                    if let Some(row) = Row::of(&value).filter(|row| filter.matches(row)) {
                        rows.push(Arc::new(row));
                    }
                    if rows.len() < count {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                });
                let _ = answer.send(looked.map(|()| rows));
            }
            Question::Sum(filter, mut sums, answer) => {
                // What is looked for may stand in a line as something else: then the line is read whole.
                let is_plain = filter.needles().is_empty();
                let looked = look(directory, &filter, deadline, |line| {
                    if is_plain {
                        let brief = serde_json::from_str::<Brief>(line).ok();
                        if let Some(brief) = brief.filter(|brief| filter.covers(brief.start_ms)) {
                            sums.add(&brief);
                        }
                    } else {
                        let value = serde_json::from_str(line).unwrap_or_default();
                        if let Some(row) = Row::of(&value).filter(|row| filter.matches(row)) {
                            sums.add_row(&row);
                        }
                    }
                    ControlFlow::Continue(())
                });
                let _ = answer.send(looked.map(|()| sums));
            }
        }
    }
}

/// Shows each line in which what is looked for stands, the newest first, until it has been enough.
fn look(
    directory: &Path,
    filter: &Filter,
    deadline: Instant,
    mut show: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<(), NoAnswer> {
    if Instant::now() > deadline {
        return Err(NoAnswer::Late);
    }
    let failed = |error: io::Error| {
        tracing::warn!(%error, "records cannot be read");
        NoAnswer::Failed
    };
    let needles = filter.needles();
    let paths = match files::paths(directory) {
        // Nothing was written yet, or it is all gone: the store makes it again.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        paths => paths.map_err(failed)?,
    };
    let mut newer = None;
    for path in paths.into_iter().rev() {
        let began = files::stamp_of(&path).unwrap_or(0);
        // What is in a file ended after the file began, and before the next did.
        if newer.is_some_and(|newer| filter.is_over_by(newer)) {
            break;
        }
        newer = Some(began);
        if filter.begins_after(began) {
            continue;
        }
        let mut flow = ControlFlow::Continue(());
        let read = each_line_backwards(&path, |line| {
            if needles.iter().all(|needle| line.contains(needle)) {
                flow = show(line);
            }
            if Instant::now() > deadline {
                return ControlFlow::Break(());
            }
            flow
        });
        match read {
            // It was removed meanwhile, being the oldest.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(failed)?,
        }
        if flow.is_break() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(NoAnswer::Late);
        }
    }
    Ok(())
}

/// Lines of a file from its end, in blocks. What is no UTF-8 is no record; half a line, at its end, neither.
fn each_line_backwards(path: &PathBuf, mut show: impl FnMut(&str) -> ControlFlow<()>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut end = file.metadata()?.len();
    // Of a block, what belongs to a line that begins in the one before.
    let mut rest: Vec<u8> = Vec::new();
    let mut is_last = true;
    while end > 0 {
        let start = end.saturating_sub(SEARCH_BLOCK_BYTES);
        let mut block = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        block.append(&mut rest);
        end = start;
        let mut lines = block.split(|byte| *byte == b'\n').rev();
        if std::mem::take(&mut is_last) {
            // Behind the last end of a line there is nothing, or what is being written.
            lines.next();
        }
        let mut lines: Vec<&[u8]> = lines.collect();
        if end > 0 {
            rest = lines.pop().unwrap_or_default().to_vec();
            if rest.len() > RECORD_BYTES_MAX {
                rest.clear();
            }
        }
        for line in lines {
            if let Ok(line) = std::str::from_utf8(line)
                && !line.is_empty()
                && show(line).is_break()
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_come_from_the_end_whatever_the_blocks() {
        let path = std::env::temp_dir().join(format!("moqswitch-backwards-{}", std::process::id()));
        let long = "x".repeat(usize::try_from(SEARCH_BLOCK_BYTES).unwrap() / 3);
        let mut text = String::new();
        for number in 0..40 {
            let line = if number % 3 == 0 {
                format!("{number} {long}")
            } else {
                number.to_string()
            };
            text += &(line + "\n");
        }
        for end in ["", "half a line"] {
            fs::write(&path, text.clone() + end).unwrap();
            let mut seen = Vec::new();
            each_line_backwards(&path, |line| {
                let number: u32 = line.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(line.len() > 10, number.is_multiple_of(3), "whole lines");
                seen.push(number);
                if number == 3 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
            assert_eq!(seen, (3..40).rev().collect::<Vec<u32>>());
        }
        fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn so_many_queries_wait_and_none_for_longer_than_it_may() {
        assert_eq!(
            (SEARCHES_WAITING_MAX, SEARCH_WAIT_MAX.as_secs()),
            (16, 10),
            "as their page says"
        );
        // Nobody answers.
        let (questions, inbox) = sync_channel(SEARCHES_WAITING_MAX);
        let search = Search { questions };
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..SEARCHES_WAITING_MAX {
            let search = search.clone();
            waiting.spawn(async move { search.list(Filter::default(), 1).await });
        }
        tokio::task::yield_now().await;
        assert_eq!(search.list(Filter::default(), 1).await.unwrap_err(), NoAnswer::Busy);
        // Their time is over when they have their turn.
        let directory = std::env::temp_dir().join(format!("moqswitch-queries-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (late, overdue) = sync_channel(SEARCHES_WAITING_MAX);
        while let Ok((deadline, question)) = inbox.try_recv() {
            assert!(deadline > Instant::now());
            late.send((Instant::now().checked_sub(SEARCH_WAIT_MAX).unwrap(), question))
                .unwrap();
        }
        drop(late);
        serve(&directory, &overdue);
        while let Some(answer) = waiting.join_next().await {
            assert_eq!(answer.unwrap().unwrap_err(), NoAnswer::Late);
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
