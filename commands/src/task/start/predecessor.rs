//! The process whose place this one is to take.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use framework::prelude::*;
use framework::server::{Handover, InheritedSocket};

use super::passing::Passing;
use super::successor::{Described, Estate, Word};

/// The other process, which serves until this one is prepared.
pub(super) struct Predecessor {
    passing: Passing,
}

impl Predecessor {
    /// It talks over the standard input.
    ///
    /// # Errors
    /// When that is no such line.
    pub(super) fn find() -> Result<Self> {
        let stdin = rustix::stdio::stdin().try_clone_to_owned()?;
        let passing = Passing::over(stdin).context("there is no server whose place is to be taken")?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?.as_fd())
            .context("letting go of the standard input")?;
        Ok(Self { passing })
    }

    /// Says that this process can serve, with the queue in this file if it is in one, and waits until everything is handed over.
    ///
    /// # Errors
    /// When the other one has thought better of it.
    pub(super) async fn estate(&mut self, queue: Option<PathBuf>) -> Result<Handover> {
        self.passing.tell(&Word::Prepared(queue), &[]).await?;
        let estate = self.passing.hear().await.context("hearing of what is handed over")?;
        let Estate { sockets: described, awaited } = estate.context("the server has kept its place")?;
        let mut passed = self.passing.sockets();
        let mut sockets = Vec::with_capacity(described.len());
        for Described { place, is_managed } in described {
            let socket = passed.next().context("a socket has got lost on its way")?;
            sockets.push(InheritedSocket { place, is_managed, socket });
        }
        Ok(Handover { sockets, awaited, line: passed.next().map(Into::into) })
    }

    /// Says that this process serves.
    ///
    /// # Errors
    /// When nobody hears it.
    pub(super) async fn ready(&mut self) -> Result<()> {
        self.passing.tell(&Word::Ready, &[]).await.context("telling the server that its place is taken")
    }

    /// Says why this process cannot serve.
    pub(super) async fn failed(&mut self, error: &anyhow::Error) {
        // Whoever does not hear it sees that this process ends.
        drop(self.passing.tell(&Word::Failed(format!("{error:#}")), &[]).await);
    }
}
