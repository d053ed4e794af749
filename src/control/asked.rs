//! Somebody asks for everything to be read now: an operator, by the API or a signal.

use tokio::sync::{mpsc, oneshot};

use super::generation::{Fault, ReloadResult};
use super::reload::{Reloader, Wish};
use super::{Ask, certificates};

impl Reloader {
    /// One reload answers all who have asked before it began.
    pub(super) async fn answer(&mut self, first: Ask, asks: &mut mpsc::Receiver<Ask>) {
        let mut waiting = vec![first];
        while let Ok(ask) = asks.try_recv() {
            waiting.push(ask);
        }
        self.noted.by = waiting.first().map(|ask| ask.by.clone());
        let result = self.reload_all().await;
        for ask in waiting {
            // Who asked may have left meanwhile.
            drop(ask.answer.send(result.clone()));
        }
    }

    /// The gateway's own file, the routes, and the certificates of listeners and tenants.
    async fn reload_all(&mut self) -> ReloadResult {
        let mut others = self.reload_gateway().await;
        let (told, answer) = oneshot::channel();
        // Who keeps the certificates is gone where the process is ending.
        drop(self.certificates.send(certificates::Ask::Read(told)).await);
        let result = self.reload(Wish::Asked).await;
        others.extend(answer.await.unwrap_or_default());
        others.extend(self.bearers.read().await);
        match result {
            result if others.is_empty() => result,
            ReloadResult::Live { generation, .. } => {
                ReloadResult::Refused { generation, problems: others }
            }
            ReloadResult::Refused { generation, mut problems } => {
                problems.extend(others);
                ReloadResult::Refused { generation, problems }
            }
        }
    }

    /// What is wrong with `gateway.toml`, where somebody follows it.
    async fn reload_gateway(&self) -> Vec<Fault> {
        let (told, answer) = oneshot::channel();
        drop(self.gateway.send(told).await);
        answer.await.unwrap_or_default()
    }
}
