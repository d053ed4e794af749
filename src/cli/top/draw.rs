//! Draws the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Sparkline, Table, Tabs, Wrap};

use crate::admin::dashboard::picture::Picture;
use crate::telemetry::recent::{Chart, Sort};

use super::screen::{Screen, Tab};
use super::table::{
    self, ENDPOINT_COLUMNS, POOL_COLUMNS, TENANT_COLUMNS, headline, number, plain, time, totals,
};

/// Draws all of it, on a terminal of any size.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let notice = u16::from(screen.lost.is_some());
    // Charts go first where there is no room for all.
    let charts = if frame.area().height >= 16 { 3 } else { 0 };
    let heights = [1, notice, 1, charts, 1].map(Constraint::Length);
    let heights = heights.into_iter().chain([Constraint::Min(1), Constraint::Length(1)]);
    let [head, lost, total, charts, tabs, list, keys] =
        Layout::vertical(heights).areas(frame.area());
    frame.render_widget(header(screen), head);
    if let Some((why, pause)) = &screen.lost {
        let text = format!(" {}: {}; next try in {pause:?} ", screen.source, plain(why));
        frame.render_widget(Paragraph::new(text).style(Style::new().white().on_red()), lost);
    }
    if let Some(picture) = &screen.picture {
        frame.render_widget(Paragraph::new(totals(picture)), total);
        draw_charts(frame, charts, &screen.total);
        frame.render_widget(tabs_of(screen, picture), tabs);
        if screen.tab == Tab::Problems {
            frame.render_widget(problems(screen, picture), list);
        } else {
            let shown = table_of(screen, picture, list.width);
            frame.render_stateful_widget(shown, list, &mut screen.rows);
        }
    } else {
        let text = format!("waiting for {}", screen.source);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), list);
    }
    frame.render_widget(footer(screen), keys);
}

fn header(screen: &Screen) -> Paragraph<'_> {
    let Some(picture) = &screen.picture else {
        return Paragraph::new("Tenantry").bold();
    };
    let colour = match picture {
        _ if screen.lost.is_some() => Color::Reset,
        picture if picture.problems_total > 0 || picture.serving_last_good => Color::Red,
        picture if picture.unready.is_some() || picture.pools.ineligible > 0 => Color::Yellow,
        _ => Color::Green,
    };
    let text = match screen.lost {
        Some(_) => format!("no connection; last seen: {}", headline(picture)),
        None => headline(picture),
    };
    Paragraph::new(text).style(Style::new().fg(colour).bold())
}

/// Requests, errors and latency of ten minutes, side by side.
fn draw_charts(frame: &mut Frame<'_>, area: Rect, chart: &Chart) {
    let p99: Vec<f64> = chart.p99_ms.iter().map(|ms| ms.map_or(0.0, f64::from)).collect();
    let parts = Layout::horizontal([Constraint::Fill(1); 3]).spacing(2).split(area);
    let all = [
        ("req/s", chart.requests.as_slice(), Color::Cyan),
        ("5xx/s", chart.errors.as_slice(), Color::Red),
        ("p99", p99.as_slice(), Color::Blue),
    ];
    for ((name, values, colour), area) in all.into_iter().zip(parts.iter()) {
        let [title, bars] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(*area);
        let most = values.iter().copied().fold(0.0, f64::max);
        let most = if name == "p99" { time(Some(most)) } else { number(most) };
        let text = format!("{name}, 10 min, at most {most}");
        frame.render_widget(Paragraph::new(text).dim(), title);
        let newest = values.len().saturating_sub(bars.width.into());
        // The newest on the right. A sparkline takes whole numbers.
        let before = usize::from(bars.width).saturating_sub(values.len());
        let known = values[newest..].iter().map(|value| (value * 100.0) as u64);
        let bars_of: Vec<u64> = std::iter::repeat_n(0, before).chain(known).collect();
        let style = Style::new().fg(colour);
        frame.render_widget(Sparkline::default().data(bars_of).style(style), bars);
    }
}

fn tabs_of<'a>(screen: &Screen, picture: &Picture) -> Tabs<'a> {
    let tenants = picture.tenants.as_ref().map_or(0, |page| page.matching);
    let pools = &picture.pools;
    let title = |tab: &Tab| match tab {
        Tab::Tenants => format!("1 tenants {tenants}"),
        Tab::Pools => format!("2 pools {}", pools.matching),
        Tab::Endpoints if pools.ineligible > 0 => {
            format!("3 endpoints {} ({} out)", pools.endpoints, pools.ineligible)
        }
        Tab::Endpoints => format!("3 endpoints {}", pools.endpoints),
        Tab::Problems => format!("4 problems {}", picture.problems_total),
    };
    let chosen = Tab::ALL.iter().position(|tab| *tab == screen.tab);
    Tabs::new(Tab::ALL.iter().map(title))
        .select(chosen)
        .highlight_style(Style::new().add_modifier(Modifier::REVERSED))
}

fn table_of<'a>(screen: &Screen, picture: &Picture, width: u16) -> Table<'a> {
    let trend = (width / 5).min(24);
    let (columns, rows, widths): (Vec<&str>, Vec<Row<'a>>, Vec<u16>) = match screen.tab {
        Tab::Tenants => {
            let listed = picture.tenants.iter().flat_map(|page| &page.tenants);
            let rows = listed.map(|tenant| {
                let chart = screen.of_tenant(&tenant.id);
                rates(table::tenant(tenant), chart, trend, tenant.rates.errors_per_second > 0.0)
            });
            (TENANT_COLUMNS.to_vec(), rows.collect(), vec![0, 11, 14, 7, 7, 7, 7])
        }
        Tab::Pools => {
            let rows = picture.pools.rows.iter().map(|pool| {
                let bad = pool.rates.errors_per_second > 0.0 || pool.ineligible > 0;
                rates(table::pool(pool), screen.of_pool(&pool.name), trend, bad)
            });
            (POOL_COLUMNS.to_vec(), rows.collect(), vec![0, 9, 4, 7, 7, 7, 7])
        }
        Tab::Endpoints => {
            let rows = table::endpoints(picture).into_iter().map(|cells| {
                let is_well = matches!(cells[2].as_str(), "up" | "unchecked");
                Row::new(cells).style(if is_well { Style::new() } else { Style::new().red() })
            });
            // A narrow screen is for why it is out.
            let widths = if width < 100 { vec![21, 10, 9, 0] } else { vec![24, 14, 9, 0, 9, 20] };
            (ENDPOINT_COLUMNS[..widths.len()].to_vec(), rows.collect(), widths)
        }
        // Drawn as a text.
        Tab::Problems => (Vec::new(), Vec::new(), Vec::new()),
    };
    let has_trend = matches!(screen.tab, Tab::Tenants | Tab::Pools);
    let widths = widths.into_iter().map(|width| match width {
        0 => Constraint::Min(12),
        width => Constraint::Length(width),
    });
    let widths: Vec<Constraint> =
        widths.chain(has_trend.then_some(Constraint::Length(trend))).collect();
    let columns = columns.into_iter().chain(has_trend.then_some("10 min"));
    Table::new(rows, widths)
        .header(Row::new(columns).style(Style::new().add_modifier(Modifier::UNDERLINED)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
}

/// As a text that is wrapped: what is wrong may be long, and so may the way to its file.
fn problems<'a>(screen: &Screen, picture: &Picture) -> Paragraph<'a> {
    let mut lines = Vec::new();
    for [place, what, hint] in table::problems(picture) {
        lines.extend([Line::from(what).red(), Line::from(format!("  {place}")).dim()]);
        if !hint.is_empty() {
            lines.push(Line::from(format!("  {hint}")));
        }
    }
    if lines.is_empty() {
        lines.push(Line::from("The files of now are what serves."));
    }
    let from = screen.rows.selected().unwrap_or(0).min(lines.len() - 1);
    let from = u16::try_from(from).unwrap_or(u16::MAX);
    Paragraph::new(lines).wrap(Wrap { trim: false }).scroll((from, 0))
}

fn rates<'a>(cells: Vec<String>, chart: Option<&Chart>, width: u16, bad: bool) -> Row<'a> {
    let trend = chart.map(|chart| bars(&chart.requests, width.into())).unwrap_or_default();
    let row = Row::new(cells.into_iter().chain([trend]));
    if bad { row.style(Style::new().fg(Color::Red)) } else { row }
}

/// The newest values as a line of bars.
fn bars(values: &[f64], width: usize) -> String {
    let values = &values[values.len().saturating_sub(width)..];
    let most = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| {
        let height = if most > 0.0 { (value / most * 8.0).ceil() as usize } else { 0 };
        BARS[height.min(8)]
    };
    let bars: String = values.iter().map(bar).collect();
    format!("{bars:>width$}")
}

fn footer(screen: &Screen) -> Line<'_> {
    if let Some(text) = &screen.typing {
        return Line::from(vec![
            Span::raw("search: "),
            Span::raw(plain(text)).bold(),
            Span::raw("▏ Enter keeps, Esc clears"),
        ]);
    }
    let order = match screen.query.sort {
        Sort::Requests => "requests",
        Sort::Errors => "errors",
        Sort::P99 => "p99",
        Sort::Id => "name",
    };
    let mut shown = format!("by {order}");
    if !screen.query.search.is_empty() {
        shown += &format!(", with {:?}", plain(&screen.query.search));
    }
    if let Some(state) = screen.query.state {
        shown += &format!(", {state:?}").to_lowercase();
    }
    let keys = " | q quit  / search  r e p n order  s state  Tab 1-4 lists  ↑↓ scroll";
    Line::from(vec![Span::raw(shown).bold(), Span::raw(keys).dim()])
}

const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
