//! `tenantry top`: what the dashboard shows, in a terminal.

mod draw;
mod feed;
mod screen;
mod table;

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use http::Uri;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::asking::Credentials;
use crate::telemetry::recent::Sort;

use feed::{Query, Source, Update};
use screen::{Next, Screen};

/// Whom to ask, and what to show.
#[derive(Args, Debug)]
pub(super) struct TopArgs {
    /// Where the admin API is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9900")]
    admin: Uri,
    #[command(flatten)]
    credentials: Credentials,
    /// Print one table and end
    #[arg(long)]
    once: bool,
    /// Only tenants and pools with this in a name, a host or an address
    #[arg(long, value_name = "TEXT", default_value = "")]
    search: String,
    /// The order of tenants and pools
    #[arg(long, value_enum, default_value_t = Order::Requests)]
    sort: Order,
    /// Seconds between two pictures
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=15))]
    every: u8,
}

/// The order of tenants and pools.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    /// Those with the most requests first
    Requests,
    /// Those with the most answers of 5xx first
    Errors,
    /// The slowest first
    P99,
    /// By name
    Id,
}

impl From<Order> for Sort {
    fn from(order: Order) -> Self {
        match order {
            Order::Requests => Self::Requests,
            Order::Errors => Self::Errors,
            Order::P99 => Self::P99,
            Order::Id => Self::Id,
        }
    }
}

/// Shows what goes on until somebody quits; with `--once`, the text to print.
///
/// # Errors
/// When there is no terminal, or nobody answers to `--once`.
pub(super) fn top(args: &TopArgs) -> anyhow::Result<Option<String>> {
    let source = Source::new(args.admin.clone(), args.credentials.clone())?;
    let query = Query {
        search: args.search.clone(),
        sort: args.sort.into(),
        every: args.every,
        state: None,
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    if args.once {
        return runtime.block_on(feed::first(&source, &query)).map(|seen| Some(table::text(&seen)));
    }
    if !stdout().is_terminal() {
        bail!("standard output is no terminal; `--once` prints one table");
    }
    runtime.block_on(async {
        let signals = Signals::listen().context("cannot listen to signals")?;
        // From here on a panic gives the terminal back, too.
        let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
        let done = show(&mut terminal, source, query, signals).await;
        ratatui::restore();
        done
    })?;
    Ok(None)
}

async fn show(
    terminal: &mut DefaultTerminal,
    source: Source,
    query: Query,
    signals: Signals,
) -> anyhow::Result<()> {
    let (news, mut updates) = mpsc::channel(1);
    let screen = Screen::new(source.name.clone(), query.clone());
    let (wish, wished) = watch::channel(query);
    tokio::select! {
        done = interact(terminal, screen, &mut updates, wish, signals) => done,
        () = feed::follow(source, wished, news) => Ok(()),
    }
}

async fn interact(
    terminal: &mut DefaultTerminal,
    mut screen: Screen,
    updates: &mut mpsc::Receiver<Update>,
    wish: watch::Sender<Query>,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let mut glance = interval(GLANCE);
    glance.set_missed_tick_behavior(MissedTickBehavior::Delay);
    terminal.draw(|frame| draw::draw(frame, &mut screen))?;
    loop {
        tokio::select! {
            () = signals.end() => return Ok(()),
            update = updates.recv() => match update {
                Some(update) => screen.take(update),
                None => return Ok(()),
            },
            _ = glance.tick() => {
                let mut touched = false;
                while event::poll(Duration::ZERO)? {
                    touched = true;
                    match screen.react(&event::read()?) {
                        Next::Stay => {}
                        Next::Ask => drop(wish.send_replace(screen.query.clone())),
                        Next::Quit => return Ok(()),
                    }
                }
                if !touched {
                    continue;
                }
            }
        }
        terminal.draw(|frame| draw::draw(frame, &mut screen))?;
    }
}

/// What ends the program from outside. Ctrl-C is a key: the terminal does not make it a signal.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let of = |kind| signal(kind);
        let terminate = of(SignalKind::terminate())?;
        Ok(Self([terminate, of(SignalKind::hangup())?, of(SignalKind::interrupt())?]))
    }

    async fn end(&mut self) {
        let [terminate, hangup, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// 40 ms: a key is answered before anybody feels a delay, and an idle screen costs next to nothing.
const GLANCE: Duration = Duration::from_millis(40);

#[cfg(test)]
mod tests;
