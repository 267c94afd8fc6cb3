//! Tells each thing once, and notes it when what was told is kept.

use std::collections::{HashSet, VecDeque};
use std::path::Path;

use tokio::sync::oneshot;

use super::told::Told;
use crate::backups::task::Tidings;
use crate::clock;
use crate::source::{Closed, Fact, Report, Reporter};

/// Questions that may wait for their answers; what is told meanwhile is asked with the next one.
const ASKED_MAX: usize = 16;

/// The way out of what was read, past what was told already.
pub struct Teller {
    reporter: Reporter,
    told: Told,
    /// Told, but perhaps not kept; the oldest first. Bounded by the tasks there are.
    unkept: Vec<String>,
    /// Questions without an answer yet; they are answered in order.
    asked: VecDeque<Asked>,
}

/// A question whether so many more keys are kept.
struct Asked {
    answer: oneshot::Receiver<()>,
    keys: usize,
}

impl Teller {
    /// A teller that knows what earlier starts told, if that is kept in a folder.
    pub fn new(reporter: Reporter, state: Option<&Path>) -> Self {
        Self { reporter, told: Told::open(state), unkept: Vec::new(), asked: VecDeque::new() }
    }

    /// Whether this was told.
    pub fn has_told(&self, key: &str) -> bool {
        self.told.has(key)
    }

    /// Whether an earlier start told anything.
    pub fn has_a_past(&self) -> bool {
        self.told.is_known()
    }

    /// Tells what was not told yet.
    pub async fn tell(&mut self, news: Vec<Tidings>) -> Result<(), Closed> {
        for Tidings { key, time, data } in news {
            if !self.told.has(&key) {
                let fact = Fact { time, recorded_time: clock::today(), data };
                self.reporter.send(Report::Fact(fact)).await?;
                self.pass_over(key);
            }
        }
        Ok(())
    }

    /// Counts as told from now on.
    pub fn pass_over(&mut self, key: String) {
        self.told.insert(key.clone());
        self.unkept.push(key);
    }

    /// Asks whether what was told is kept, as far as that is not asked already.
    pub async fn ask_whether_kept(&mut self) -> Result<(), Closed> {
        let asked: usize = self.asked.iter().map(|asked| asked.keys).sum();
        let keys = self.unkept.len() - asked;
        if keys > 0 && self.asked.len() < ASKED_MAX {
            let (tell, answer) = oneshot::channel();
            self.reporter.send(Report::AreKept(tell)).await?;
            self.asked.push_back(Asked { answer, keys });
        }
        Ok(())
    }

    /// Waits for the answer: how many keys are kept now. For ever, if nothing was asked.
    ///
    /// # Errors
    /// When nobody can answer any more: the agent is stopping.
    pub async fn answered(&mut self) -> Result<usize, Closed> {
        let Some(Asked { answer, keys }) = self.asked.front_mut() else {
            return std::future::pending().await;
        };
        answer.await.map_err(|_| Closed)?;
        let keys = *keys;
        self.asked.pop_front();
        Ok(keys)
    }

    /// Notes that the first of what was told is kept.
    pub fn note(&mut self, keys: usize) {
        let kept: Vec<String> = self.unkept.drain(..keys).collect();
        if let Err(error) = self.told.write(&kept) {
            log::warn!(
                "backups: it cannot be noted what was told, so it is told again after the next \
                 start: {error}"
            );
        }
    }

    /// Notes what is kept although nobody waits for the answer any more: the agent is stopping.
    pub fn note_last(&mut self) {
        while let Some(Asked { mut answer, keys }) = self.asked.pop_front()
            && answer.try_recv().is_ok()
        {
            self.note(keys);
        }
    }

    /// Forgets what was told of tasks that are not among these.
    pub fn keep_only(&mut self, tasks: &HashSet<&str>) {
        if !self.unkept.is_empty() {
            // What is not kept must not be written.
            return;
        }
        let is_there = |key: &str| key.split(' ').next().is_some_and(|upid| tasks.contains(upid));
        if let Err(error) = self.told.forget(is_there) {
            log::warn!("backups: the note of what was told cannot be written anew: {error}");
        }
    }
}
