//! What is around a difference between two texts of many tenants, so that an edit of one takes no reading of what
//! stands before it and behind it.

use std::ops::Range;

use crate::base::stretch::Stretch;
use crate::config::SharedText;

use super::sections::{self, Form, Section};

/// Places of a text, some of many, from each of which on it can be taken apart by itself: there a line begins,
/// and with it the header of another tenant than the one before.
#[derive(Clone, Debug)]
pub(super) struct Milestones {
    text: SharedText,
    places: Vec<usize>,
}

/// What is around all that differs between two texts: whole sections of both.
#[derive(Debug)]
pub(super) struct Around {
    pub(super) before: Vec<Section>,
    pub(super) now: Vec<Section>,
    /// Those of the text of now.
    pub(super) milestones: Milestones,
}

impl Milestones {
    /// Those of a text with these sections; `None` where it has few.
    pub(super) fn of(text: &SharedText, tenants: &[Section]) -> Option<Self> {
        let places = places(text, tenants);
        (places.len() > 1).then(|| Self { text: text.clone(), places })
    }

    /// Whether they are of this very text.
    pub(super) fn are_of(&self, text: &SharedText) -> bool {
        self.text.is(text)
    }

    /// What is around all that differs in a text from this one; `None` where that may be more than tenants, or is
    /// more than so many bytes.
    pub(super) fn around(&self, now: &SharedText, most: usize) -> Option<Around> {
        let (old, new) = self.parts(now)?;
        if old.len().max(new.len()) > most {
            return None;
        }
        let (before, after) = (apart(&self.text, &old)?, apart(now, &new)?);
        if between(&self.text, &old, &before)? != between(now, &new, &after)? {
            return None;
        }
        let behind = self.places.iter().filter(|at| **at >= old.end);
        let places = self
            .places
            .iter()
            .filter(|at| **at < old.start)
            .copied()
            .chain(places(now, &after))
            .chain(behind.map(|at| at - old.end + new.end))
            .collect();
        let milestones = Self { text: now.clone(), places };
        Some(Around { before, now: after, milestones })
    }

    /// From the last place before the difference to the first one behind it, in both texts.
    fn parts(&self, now: &str) -> Option<(Range<usize>, Range<usize>)> {
        let (before, now, places) = (self.text.as_bytes(), now.as_bytes(), &self.places);
        let same = common_prefix(before, now);
        let start = *places.get(places.partition_point(|at| *at <= same).checked_sub(1)?)?;
        let (old, new) = (before.get(same..)?, now.get(same..)?);
        let differs = before.len() - common_suffix(old, new);
        // Beyond that, so that the line before it has ended in both.
        let behind = places.get(places.partition_point(|at| *at <= differs));
        let end = behind.copied().unwrap_or(before.len());
        Some((start..end, start..end + now.len() - before.len()))
    }
}

fn places(text: &str, tenants: &[Section]) -> Vec<usize> {
    let begins_line = |at: usize| at == 0 || text.as_bytes().get(at - 1) == Some(&b'\n');
    let places = tenants.iter().step_by(BETWEEN).filter(|section| is_header(section));
    places.map(|section| section.span.start as usize).filter(|at| begins_line(*at)).collect()
}

fn is_header(section: &Section) -> bool {
    matches!(section.form, Form::Header | Form::OtherHeader)
}

/// The sections of a part of a text; `None` where it does not begin with one.
fn apart(text: &str, part: &Range<usize>) -> Option<Vec<Section>> {
    let start = u32::try_from(part.start).ok()?;
    let tenants = sections::split(text.get(part.clone())?)?.tenants;
    let begins = tenants.first().is_some_and(|first| first.span.start == 0 && is_header(first));
    begins.then(|| tenants.into_iter().map(|section| section.moved(start)).collect())
}

/// What a part of a text says besides its tenants; `None` where it has a carriage return, which may be a fault.
fn between(text: &str, part: &Range<usize>, tenants: &[Section]) -> Option<String> {
    let ends = tenants.iter().map(|section| section.span.end as usize);
    let starts = tenants.iter().skip(1).map(|section| section.span.start as usize);
    let mut all = String::new();
    for (end, start) in ends.zip(starts.chain([part.end])) {
        let said = text.get(end..start)?.trim_matches([' ', '\t', '\n']);
        if said.contains('\r') {
            return None;
        }
        if !said.is_empty() {
            all.push_str(said);
            all.push('\n');
        }
    }
    Some(all)
}

/// With how many bytes both begin.
fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let whole = alike(one.chunks(PIECE).zip(other.chunks(PIECE)));
    let (one, other) = (one.iter().skip(whole), other.iter().skip(whole));
    whole + one.zip(other).take_while(|(one, other)| one == other).count()
}

/// With how many bytes both end.
fn common_suffix(one: &[u8], other: &[u8]) -> usize {
    let whole = alike(one.rchunks(PIECE).zip(other.rchunks(PIECE)));
    let before = |all: &[u8]| all.len() - whole;
    let (one, other) = (one.iter().take(before(one)), other.iter().take(before(other)));
    whole + one.rev().zip(other.rev()).take_while(|(one, other)| one == other).count()
}

/// How many bytes the pieces have up to the first two that differ.
fn alike<'t>(pieces: impl Iterator<Item = (&'t [u8], &'t [u8])>) -> usize {
    let stretch = Stretch::begin();
    let same = pieces.take_while(|(one, other)| {
        stretch.step();
        one == other
    });
    same.map(|(one, _)| one.len()).sum()
}

/// 64: what is around an edit is read in less than a millisecond.
const BETWEEN: usize = 64;

/// 4 KiB.
const PIECE: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Many tenants, and something else in their middle.
    fn text() -> String {
        let tenant = |number: usize| format!("[tenants.t{number}]\npool = \"a\"\n# {number}\n\n");
        let begin: String = (0..200).map(tenant).collect();
        let end: String = (200..400).map(tenant).collect();
        format!("[pools.a]\ndns = \"a:1\"\n\n{begin}[pools.b]\ndns = \"b:1\"\n{end}")
    }

    fn milestones(text: &str) -> Milestones {
        Milestones::of(&text.into(), &sections::split(text).unwrap().tenants).unwrap()
    }

    /// What the sections say that differ.
    fn told(before: &Milestones, now: &str) -> Option<(Vec<String>, Vec<String>, Milestones)> {
        let now: SharedText = now.into();
        let around = before.around(&now, usize::MAX)?;
        assert!(around.before.len().max(around.now.len()) <= 3 * BETWEEN);
        let of = |text: &str, all: &[Section]| -> Vec<String> {
            all.iter().map(|section| section.text(text).to_owned()).collect()
        };
        let (old, new) = (of(&before.text, &around.before), of(&now, &around.now));
        let gone = old.iter().filter(|one| !new.contains(one)).cloned().collect();
        let come = new.into_iter().filter(|one| !old.contains(one)).collect();
        Some((gone, come, around.milestones))
    }

    #[test]
    fn of_two_texts_only_what_is_around_the_difference_is_taken_apart() {
        let (text, t) = (text(), |number: usize| format!("[tenants.t{number}]\npool = \"a\"\n"));
        let with = |number: usize, more: &str| {
            text.replacen(&t(number), &format!("{}{more}", t(number)), 1)
        };
        let mut last = milestones(&text);
        for number in [0, 1, 63, 64, 65, 128, 198, 199, 200, 201, 350, 399] {
            let edited = with(number, "use = []\n");
            let (gone, come, next) = told(&last, &edited).unwrap();
            assert!(come.iter().any(|one| *one == format!("{}use = []\n", t(number))), "{number}");
            assert!(gone.len() <= 2 && come.len() <= 2, "{number}: and the one of before");
            assert!(next.are_of(&next.text) && *next.text == *edited);
            last = next;
        }
        for place in &last.places {
            assert!(last.text[*place..].starts_with("[tenants.t"), "{place}");
        }
        let added = format!("{text}[tenants.new]\n");
        assert_eq!(told(&milestones(&text), &added).unwrap().1, ["[tenants.new]\n"]);
        let (gone, come, _) = told(&milestones(&added), &text).unwrap();
        assert_eq!((gone, come), (vec!["[tenants.new]\n".to_owned()], vec![]));
    }

    #[test]
    fn what_is_more_than_tenants_or_may_be_is_left_to_a_reading_of_all() {
        let text = text();
        let milestones = milestones(&text);
        for (from, to) in [
            ("a:1", "a:2"),
            ("b:1", "b:2"),
            ("[pools.b]\ndns = \"b:1\"\n", ""),
            ("[tenants.t7]\n", "[pools.c]\n[tenants.t7]\n"),
            ("[tenants.t64]\n", "x = 1\n[tenants.t64]\n[pools.d]\n"),
            ("# 199\n", "# 199\r\n"),
            ("# 70\n\n", "# seventy\n\n"),
        ] {
            let edited = text.replacen(from, to, 1);
            assert_ne!(text, edited);
            assert!(milestones.around(&edited.into(), usize::MAX).is_none(), "{from} {to}");
        }
    }

    #[test]
    fn a_difference_that_goes_far_is_left_to_a_reading_of_all() {
        let text = text();
        let milestones = milestones(&text);
        let edited: SharedText = text.replacen("t7]\npool = \"a\"", "t7]\npool = \"b\"", 1).into();

        let size = milestones.around(&edited, usize::MAX).map(|around| around.before.len());

        assert_eq!(size, Some(BETWEEN));
        assert!(milestones.around(&edited, 100).is_none());
    }
}
