//! Rows of text: for `--once`, and for the screen's tables.

use crate::admin::dashboard::picture::Picture;
use crate::admin::dashboard::pools::{Endpoint, Row};
use crate::control::roster::{Listed, State};

/// Everything as plain text, for a script or a paper trail.
pub(super) fn text(picture: &Picture) -> String {
    let mut text = headline(picture) + "\n" + &totals(picture) + "\n";
    if picture.problems_total > 0 {
        text += &format!("\nPROBLEMS {}\n", picture.problems_total);
        for row in problems(picture) {
            text += &format!("{}\n", row.join("  "));
        }
    }
    if let Some(page) = &picture.tenants {
        let shown = page.tenants.len();
        text += &format!("\nTENANTS {shown} of {}\n", page.matching);
        let rows = page.tenants.iter().map(tenant).collect();
        text += &aligned(&TENANT_COLUMNS, rows);
    }
    let pools = &picture.pools;
    text += &format!("\nPOOLS {} of {}\n", pools.rows.len(), pools.matching);
    text += &aligned(&POOL_COLUMNS, pools.rows.iter().map(pool).collect());
    let counts = (pools.endpoints, pools.ineligible);
    text += &format!("\nENDPOINTS {} ({} out)\n", counts.0, counts.1);
    text + &aligned(&ENDPOINT_COLUMNS, endpoints(picture))
}

pub(super) const TENANT_COLUMNS: [&str; 7] =
    ["tenant", "state", "pool", "req/s", "5xx/s", "p50", "p99"];
pub(super) const POOL_COLUMNS: [&str; 7] =
    ["pool", "endpoints", "out", "req/s", "5xx/s", "p50", "p99"];
pub(super) const ENDPOINT_COLUMNS: [&str; 6] =
    ["endpoint", "pool", "state", "why", "in flight", "from"];

/// What runs, in one line.
pub(super) fn headline(picture: &Picture) -> String {
    let up = span(picture.uptime_seconds);
    let live = match (&picture.unready, picture.problems_total, picture.pools.ineligible) {
        (Some(why), _, _) => plain(why),
        (None, 0, 0) => "serving".to_owned(),
        (None, 0, out) => format!("serving, {out} endpoints out"),
        (None, 1, _) => "1 problem, what was before serves".to_owned(),
        (None, count, _) => format!("{count} problems, what was before serves"),
    };
    format!(
        "{live}; generation {}, up {up}, Tenantry {}",
        picture.generation,
        plain(&picture.version)
    )
}

/// All requests, in one line.
pub(super) fn totals(picture: &Picture) -> String {
    let total = &picture.total;
    let rates = &total.rates;
    format!(
        "{} req/s, {} 5xx/s, {} 4xx/s, p50 {}, p99 {}, {} in flight, {} connections",
        number(rates.requests_per_second),
        number(rates.errors_per_second),
        number(rates.client_errors_per_second),
        time(rates.p50_ms),
        time(rates.p99_ms),
        total.in_flight,
        total.connections,
    )
}

pub(super) fn tenant(tenant: &Listed) -> Vec<String> {
    let state = match tenant.state {
        State::Active => "active",
        State::Maintenance => "maintenance",
        State::Suspended => "suspended",
        State::Quarantined => "quarantined",
    };
    let rates = &tenant.rates;
    vec![
        plain(&tenant.id),
        state.to_owned(),
        tenant.pool.as_deref().map_or_else(|| "-".to_owned(), plain),
        number(rates.requests_per_second),
        number(rates.errors_per_second),
        time(rates.p50_ms),
        time(rates.p99_ms),
    ]
}

pub(super) fn pool(pool: &Row) -> Vec<String> {
    let rates = &pool.rates;
    vec![
        plain(&pool.name),
        pool.size.to_string(),
        pool.ineligible.to_string(),
        number(rates.requests_per_second),
        number(rates.errors_per_second),
        time(rates.p50_ms),
        time(rates.p99_ms),
    ]
}

/// Those of all pools, in trouble first; a source that fails is a row, too.
pub(super) fn endpoints(picture: &Picture) -> Vec<Vec<String>> {
    let mut rows: Vec<(bool, Vec<String>)> = Vec::new();
    for pool in &picture.pools.rows {
        for endpoint in &pool.endpoints {
            rows.push((is_well(endpoint), row(pool, endpoint)));
        }
        for source in &pool.sources {
            if let Some(error) = &source.error {
                let (name, why) = (plain(&source.name), plain(error));
                let of = plain(&pool.name);
                rows.push((false, vec![name, of, "failed".into(), why, "-".into(), "-".into()]));
            }
        }
    }
    rows.sort_by_key(|(is_well, _)| *is_well);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn is_well(endpoint: &Endpoint) -> bool {
    matches!(endpoint.state.as_str(), "up" | "unchecked") && endpoint.failures == 0
}

fn row(pool: &Row, endpoint: &Endpoint) -> Vec<String> {
    let failing = match endpoint.failures {
        0 => String::new(),
        count => format!("{count} failed in a row"),
    };
    vec![
        plain(&endpoint.address),
        plain(&pool.name),
        plain(&endpoint.state),
        endpoint.reason.as_deref().map_or(failing, plain),
        endpoint.in_flight.to_string(),
        plain(&endpoint.origin),
    ]
}

/// For each its place, what is wrong, and what to write instead.
pub(super) fn problems(picture: &Picture) -> Vec<[String; 3]> {
    let told = picture.problems.iter().map(|problem| {
        let key = problem.key.as_ref().map(|key| format!("{}: ", plain(key))).unwrap_or_default();
        let hint = problem.hint.as_ref().map(|hint| format!("hint: {}", plain(hint)));
        let what = format!("{key}{}", plain(&problem.what));
        [plain(&problem.place), what, hint.unwrap_or_default()]
    });
    told.collect()
}

/// Columns as wide as their longest cell, two spaces apart.
fn aligned(columns: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(ToString::to_string).collect()];
    lines.extend(rows);
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max()
        })
        .map(|width| width.unwrap_or(0))
        .collect();
    lines.iter().fold(String::new(), |text, line| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text + cells.collect::<Vec<_>>().join("  ").trim_end() + "\n"
    })
}

/// A text from elsewhere: what would move the cursor or colour the screen is shown as a mark.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { '\u{fffd}' } else { one }).collect()
}

pub(super) fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.1}k", v / 1e3),
        v if v >= 100.0 || v.fract() == 0.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

pub(super) fn time(milliseconds: Option<f64>) -> String {
    match milliseconds {
        None => "-".to_owned(),
        Some(ms) if ms >= 1000.0 => format!("{:.1}s", ms / 1000.0),
        Some(ms) if ms >= 10.0 => format!("{ms:.0}ms"),
        Some(ms) => format!("{ms:.1}ms"),
    }
}

/// The two largest units.
pub(super) fn span(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}
