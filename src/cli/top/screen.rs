//! What the screen shows and how it answers keys. Knows no terminal.

use std::collections::HashMap;
use std::time::Duration;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::TableState;

use crate::admin::dashboard::picture::Picture;
use crate::control::roster::State;
use crate::telemetry::recent::{Chart, Sort};

use super::feed::{Query, Update};

/// One of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    /// The tenants.
    Tenants,
    /// The pools.
    Pools,
    /// The endpoints of the pools.
    Endpoints,
    /// What is wrong with the files.
    Problems,
}

impl Tab {
    /// In the order of the keys 1 to 4.
    pub(super) const ALL: [Self; 4] = [Self::Tenants, Self::Pools, Self::Endpoints, Self::Problems];
}

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing more than to draw.
    Stay,
    /// The query has changed.
    Ask,
    /// The end.
    Quit,
}

/// What is shown.
#[derive(Debug)]
pub(super) struct Screen {
    /// Who is asked.
    pub(super) source: String,
    /// What is asked for.
    pub(super) query: Query,
    pub(super) tab: Tab,
    pub(super) picture: Option<Picture>,
    /// Why nothing new comes.
    pub(super) lost: Option<(String, Duration)>,
    /// The text of the search while it is typed.
    pub(super) typing: Option<String>,
    pub(super) rows: TableState,
    pub(super) total: Chart,
    /// Of tenants and pools, by tab and name: they are not sent with every picture.
    charts: HashMap<(bool, String), Chart>,
}

impl Screen {
    /// Nothing seen yet.
    pub(super) fn new(source: String, query: Query) -> Self {
        Self {
            source,
            query,
            tab: Tab::Tenants,
            picture: None,
            lost: None,
            typing: None,
            rows: TableState::default().with_selected(0),
            total: Chart::default(),
            charts: HashMap::new(),
        }
    }

    /// Takes what was heard.
    pub(super) fn take(&mut self, update: Update) {
        match update {
            Update::Lost(why, pause) => self.lost = Some((why, pause)),
            Update::Picture(mut picture) => {
                self.lost = None;
                if let Some(chart) = picture.total.chart.take() {
                    self.total = chart;
                    self.charts.clear();
                }
                for tenant in picture.tenants.iter_mut().flat_map(|page| &mut page.tenants) {
                    if let Some(chart) = tenant.chart.take() {
                        self.charts.insert((true, tenant.id.clone()), chart);
                    }
                }
                for pool in &mut picture.pools.rows {
                    if let Some(chart) = pool.chart.take() {
                        self.charts.insert((false, pool.name.clone()), chart);
                    }
                }
                self.picture = Some(*picture);
            }
        }
    }

    /// The history of a tenant.
    pub(super) fn of_tenant(&self, id: &str) -> Option<&Chart> {
        self.charts.get(&(true, id.to_owned()))
    }

    /// The history of a pool.
    pub(super) fn of_pool(&self, name: &str) -> Option<&Chart> {
        self.charts.get(&(false, name.to_owned()))
    }

    /// Answers a key.
    pub(super) fn react(&mut self, event: &Event) -> Next {
        let Event::Key(key) = event else { return Next::Stay };
        if key.kind == KeyEventKind::Release {
            return Next::Stay;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Next::Quit } else { Next::Stay };
        }
        if self.typing.is_some() { self.type_in(key) } else { self.command(key) }
    }

    fn type_in(&mut self, key: &KeyEvent) -> Next {
        let Some(text) = &mut self.typing else { return Next::Stay };
        match key.code {
            KeyCode::Char(letter) => text.push(letter),
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Enter => self.typing = None,
            KeyCode::Esc => {
                self.typing = None;
                return self.search("");
            }
            _ => return Next::Stay,
        }
        match self.typing.clone() {
            Some(text) => self.search(&text),
            None => Next::Stay,
        }
    }

    fn command(&mut self, key: &KeyEvent) -> Next {
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Esc if self.query.search.is_empty() => return Next::Quit,
            KeyCode::Esc => return self.search(""),
            KeyCode::Char('/') => self.typing = Some(self.query.search.clone()),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.turn(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => self.turn(Tab::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='4') => self.turn_to(digit as usize - '1' as usize),
            KeyCode::Down | KeyCode::Char('j') => self.rows.scroll_down_by(1),
            KeyCode::Up | KeyCode::Char('k') => self.rows.scroll_up_by(1),
            KeyCode::PageDown => self.rows.scroll_down_by(PAGE),
            KeyCode::PageUp => self.rows.scroll_up_by(PAGE),
            KeyCode::Home => self.rows.select_first(),
            KeyCode::End => self.rows.select_last(),
            KeyCode::Char('r') => return self.sort(Sort::Requests),
            KeyCode::Char('e') => return self.sort(Sort::Errors),
            KeyCode::Char('p') => return self.sort(Sort::P99),
            KeyCode::Char('n') => return self.sort(Sort::Id),
            KeyCode::Char('s') => {
                self.query.state = match self.query.state {
                    None => Some(State::Active),
                    Some(State::Active) => Some(State::Maintenance),
                    Some(State::Maintenance) => Some(State::Suspended),
                    Some(State::Suspended) => Some(State::Quarantined),
                    Some(State::Quarantined) => None,
                };
                return Next::Ask;
            }
            _ => {}
        }
        Next::Stay
    }

    fn search(&mut self, text: &str) -> Next {
        text.clone_into(&mut self.query.search);
        self.rows.select_first();
        Next::Ask
    }

    fn sort(&mut self, sort: Sort) -> Next {
        self.query.sort = sort;
        self.rows.select_first();
        Next::Ask
    }

    fn turn(&mut self, by: usize) {
        let now = Tab::ALL.iter().position(|tab| *tab == self.tab).unwrap_or(0);
        self.turn_to((now + by) % Tab::ALL.len());
    }

    fn turn_to(&mut self, place: usize) {
        self.tab = Tab::ALL[place];
        self.rows.select_first();
    }
}

/// 10: less than any screen has.
const PAGE: u16 = 10;
