//! Reads what most files say, each tenant by itself: in the words of one that was read before, it means
//! what that one meant. Anything that is wrong, or stands in an unusual way, is left to the reading of
//! the files as a whole, which tells of it.

use std::borrow::Cow;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::base::sorted::Sorted;
use crate::base::stretch::Stretch;
use crate::config::faults::Faults;
use crate::config::files::{File, Files};
use crate::config::key::Key;
use crate::config::raw::Tenant;
use crate::config::spec::{NamedTenant, RoutesSpec, TenantSpec};
use crate::config::substitute::substitute;
use crate::config::tree::{Node, parse, read_whole, take_entries};
use crate::model::ids::TenantId;

use super::answers::Pages;
use super::around::Milestones;
use super::gather::{self, Entry};
use super::memory::{Frame, Memories};
use super::sections::{self, Form, Section, Sections};
use super::{Before, Checked, Scope, Shared, Terms, access, domains, reach, tenant};

/// Checks files that are right; `None` for others, and for some that are.
pub(super) fn check(files: &Files, terms: &Terms<'_>, before: Before<'_>) -> Option<Checked> {
    let apart: Vec<Sections<'_>> =
        files.files.iter().map(|file| sections::split(&file.text)).collect::<Option<_>>()?;
    let mut faults = Faults::new(&files.files);
    let rests = apart.iter().map(|sections| &*sections.rest);
    let gathered = gather::gather(rests, terms.lookup, &mut faults);
    if !gathered.tenants.is_empty() {
        return None;
    }
    let mut shared = Shared::of(gathered, files, terms, &mut faults);
    if !faults.is_empty() {
        return None;
    }
    let frame = Frame {
        naming: Some(shared.naming.clone()),
        pools: shared.names.clone(),
        sets: shared.sets.clone(),
        plans: shared.plans.clone(),
    };
    let (scope, pages) = shared.scope(files);
    let is_sure = reach::is_sure(&scope.naming.from);
    let memories = Memories::new(before.memory, frame);
    let mut reader = Reader { terms, scope, pages, faults, memories, is_sure };
    let mut tenants = Vec::with_capacity(apart.iter().map(|apart| apart.tenants.len()).sum());
    let stretch = Stretch::begin();
    for (number, (file, apart)) in files.files.iter().zip(&apart).enumerate() {
        reader.memories.mark(Milestones::of(&file.text, &apart.tenants));
        for section in &apart.tenants {
            stretch.step();
            tenants.push(reader.tenant(number, file, section)?);
        }
    }
    let Reader { faults, memories, .. } = reader;
    let memory = memories.into_next();
    let tenants = sorted(tenants, before.spec)?;
    if !access::are_apart(tenants.iter()) || !domains::are_apart(tenants.iter()) {
        return None;
    }
    *before.memory = memory;
    Some(shared.finish(tenants, faults))
}

pub(super) struct Reader<'a, 'f> {
    pub(super) terms: &'a Terms<'a>,
    pub(super) scope: Scope<'a>,
    pub(super) pages: &'a mut Pages,
    pub(super) faults: Faults<'f>,
    pub(super) memories: Memories<'a>,
    /// Whether it does not matter which tenant it is, as requests can name all of them.
    pub(super) is_sure: bool,
}

/// A tenant by its id.
pub(super) type Named<'t> = (Cow<'t, str>, Arc<TenantSpec>);

impl Reader<'_, '_> {
    /// What a section means; `None` where something is wrong with it.
    pub(super) fn tenant<'t>(
        &mut self,
        number: usize,
        file: &'t File,
        section: &Section,
    ) -> Option<Named<'t>> {
        let plain = section.parts(&file.text);
        if let Some((id, words)) = &plain
            && let Some(spec) = self.memories.find(section.form, &(&file.text, words.clone()))
            && (self.is_sure || self.is_reached(id, &spec))
        {
            return Some((Cow::Borrowed(*id), spec));
        }
        self.memories.count();
        let doubts = self.faults.count_doubts();
        let text = section.text(&file.text);
        let (name, spec, may_differ) = self.read(number, text, section)?;
        if let Some((_, words)) = plain
            && !may_differ
            && !text.contains("${")
            && doubts == self.faults.count_doubts()
        {
            self.memories.keep(section.form, &(&file.text, words), &spec);
        }
        Some((name.into(), spec))
    }

    /// Whether nothing is odd about a tenant of this id. Where it has routes, that is not known here.
    fn is_reached(&self, id: &str, spec: &TenantSpec) -> bool {
        spec.routes.is_empty()
            && TenantId::new(id).is_ok_and(|id| reach::is_named(&self.scope.naming.from, &id))
    }

    /// Reads a section: the id, what it means, and whether the same words may mean something else
    /// in another file or at another time.
    fn read(
        &mut self,
        number: usize,
        text: &str,
        section: &Section,
    ) -> Option<(String, Arc<TenantSpec>, bool)> {
        self.faults.count_from(section.span.start as usize);
        let root = parse(text, number, &mut self.faults)?;
        let (name, mut node) = only(entries(root, section.form)?)?;
        let (at, name) = (name.span().start, name.into_inner().into_owned());
        let key = Key::root(number);
        let key = key.name("tenants");
        let key = key.name(&name);
        substitute(&mut node, &key, self.terms.lookup, &mut self.faults);
        let raw = read_whole::<Tenant>(node)?;
        // Certificates are not read, and where their paths begin is the same for all files of a folder.
        let may_differ = raw.error_pages.is_some();
        let entry = Entry { file: number, at, raw: Some(raw) };
        let (_, spec) =
            tenant::check_tenant(&name, entry, &self.scope, self.pages, &mut self.faults)?;
        self.faults.count_from(0);
        self.faults.is_empty().then_some((name, spec, may_differ))
    }
}

/// The id of a section that is right.
pub(super) fn id<'t>(
    file: &'t File,
    section: &Section,
    faults: &mut Faults<'_>,
) -> Option<Cow<'t, str>> {
    if let Some((id, _)) = section.parts(&file.text) {
        return Some(Cow::Borrowed(id));
    }
    let root = parse(section.text(&file.text), 0, faults)?;
    only(entries(root, section.form)?).map(|(name, _)| name.into_inner())
}

/// The table of tenants that a section is.
fn entries(mut root: Node<'_>, form: Form) -> Option<DeTable<'_>> {
    match form {
        Form::Header | Form::OtherHeader => {
            let entries = take_entries(&mut root, "tenants")?;
            let DeValue::Table(others) = root.get_ref() else { return None };
            others.is_empty().then_some(entries)
        }
        Form::Entry | Form::OtherEntry => match root.into_inner() {
            DeValue::Table(entries) => Some(entries),
            _ => None,
        },
    }
}

type Keyed<'t> = (Spanned<Cow<'t, str>>, Node<'t>);

/// The entry of a table that has one.
fn only(entries: DeTable<'_>) -> Option<Keyed<'_>> {
    let mut entries = entries.into_iter();
    let first = entries.next()?;
    entries.next().is_none().then_some(first)
}

/// Tenants by id; `None` where one is there twice, or has an id that is none. Those that mean what they
/// meant before are those of before.
fn sorted(mut tenants: Vec<Named<'_>>, before: Option<&RoutesSpec>) -> Option<Sorted<NamedTenant>> {
    tenants.sort_by(|(a, _), (b, _)| a.cmp(b));
    if tenants.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
        return None;
    }
    let stretch = Stretch::begin();
    let Some(before) = before else {
        let named = |(name, spec): Named<'_>| {
            stretch.step();
            Some((TenantId::new(&name).ok()?, spec))
        };
        return tenants.into_iter().map(named).collect();
    };
    let mut now = before.tenants.clone();
    let mut old = before.tenants.iter().peekable();
    for (name, spec) in tenants {
        stretch.step();
        while let Some((gone, _)) = old.next_if(|(old, _)| old.as_str() < &*name) {
            now.remove(gone.as_str());
        }
        match old.next_if(|(old, _)| old.as_str() == name) {
            Some((_, old)) if Arc::ptr_eq(old, &spec) || *old == spec => {}
            Some((id, _)) => drop(now.insert((id.clone(), spec))),
            None => drop(now.insert((TenantId::new(&name).ok()?, spec))),
        }
    }
    old.for_each(|(gone, _)| drop(now.remove(gone.as_str())));
    Some(now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::config::{Known, Memory, Problem};

    use super::super::{Lost, as_a_whole};
    use super::*;

    const KNOWN: Known<'_> = Known { balancers: &["round-robin"], keyed: &[] };

    fn terms() -> Terms<'static> {
        let lookup = &|name: &str| (name == "POOL").then(|| "a".to_owned());
        Terms { known: &KNOWN, lookup, lost: Lost::Problem, held: None, most_kept: None }
    }

    fn files(text: &str) -> Files {
        Files::of_text("r.toml", text)
    }

    /// What files mean beside those of before.
    fn again(text: &str, before: Option<&RoutesSpec>, memory: &mut Memory) -> Option<RoutesSpec> {
        let checked = check(&files(text), &terms(), Before { spec: before, memory })?;
        Some(checked.result.unwrap_or_else(|problems| panic!("{problems}")))
    }

    fn lines(mut doubts: Vec<Problem>) -> Vec<String> {
        doubts.sort_by_key(|doubt| (doubt.line, doubt.column));
        doubts.iter().map(Problem::to_string).collect()
    }

    /// Tenants that say the same, and others; one that has something odd, one that says the same twice.
    const POOLS: &str = "[pools.a]\ndns = \"a:1\"\n[pools.b]\ndns = \"b:1\"\n[route-sets.s]\n\
                         routes = [{ path = \"/s/*\", pool = \"b\" }]\n";
    const PIECES: &[&str] = &[
        "[tenants.t1]\npool = \"a\"\n",
        "[tenants.t2]\npool = \"a\"\n\n",
        "[tenants.t3]\npool = \"b\" # other\n# a comment\nuse = [\"s\"]\n",
        "[tenants.\"t4\"]\npool = \"${POOL}\"\n",
        "[tenants.t5]\npool = \"${POOL}\"\n",
        "[tenants.t6]\nroutes = [\n{ path = \"/x\" },\n{ path = \"/*\" },\n]\npool = \"a\"\n",
        "[tenants.t7]\npool = \"a\"\n[[tenants.t7.routes]]\npath = \"/x\"\n[[tenants.t7.routes]]\n\
         path = \"/{a}\"\n[[tenants.t7.routes]]\npath = \"/{b}/c\"\nmethods = [\"GET\"]\n\
         [[tenants.t7.routes]]\npath = \"/{c}/c\"\nmethods = [\"GET\", \"PUT\"]\n",
        "[tenants.t8.access-log]\nsample = \"1%\"\n[tenants.t8]\npool = \"b\"\n",
        "[tenants]\nu1 = { pool = \"a\" }\nu2 = { pool = \"a\" }\n",
        "[tenants]\n",
        "u3.pool = \"b\"\nu3.use = [\"s\"]\n",
        "[tenants.t9]\nerror-pages.503.body = \"x\"\npool = \"b\"\n",
        "[tenants.t10]\nstate = \"maintenance\"\nmaintenance.retry-after = \"10m\"\n",
        "[tenant]\nfrom = [{ host = \"{tenant}.example.com\" }]\n",
        "[tenants.T]\npool = \"a\"\n",
        "[tenants.U]\npool = \"a\"\n",
        "[tenants.t1.tracing]\nsample = \"1%\"\n",
        // A key that is of two tenants is of none.
        "[tenants.t17]\npool = \"a\"\nkeys.k.hash = \"sha256:00000000000000000000000000000000\
         00000000000000000000000000000000\"\n",
        "[tenants.t18]\npool = \"a\"\nkeys.k.hash = \"sha256:00000000000000000000000000000000\
         00000000000000000000000000000000\"\n",
        "[identity]\nsubject-header = \"X-Subject\"\n",
        "[plans.p]\npool = \"a\"\n",
        "[plans.q]\nuse = [\"s\"]\nerror-pages.503.body = \"q\"\n",
        "[tenants.t19]\nplan = \"p\"\n",
        "[tenants.t20]\nplan = \"p\"\npool = \"b\"\n",
        "[tenants.t21]\nplan = \"q\"\npool = \"b\"\n",
        // Wrong in some place, or wherever it stands.
        "[tenants.t11]\npool = \"c\"\n",
        "[tenants.t12]\n",
        "[tenants.t13]\npool = 'a\n",
        "pool = \"a\"\n",
        "tenants = {}\n",
        "[tenants.t 14]\npool = \"a\"\n",
        "[tenants..t15]\npool = \"a\"\n",
        "[tenants.t16]]\npool = \"a\"\n",
        "x = [\n",
        "]\n",
        "\u{feff}",
        "\r",
        "#\n",
    ];

    /// Texts that are mostly right, and often not.
    fn texts() -> impl Strategy<Value = String> {
        let piece = proptest::sample::select(PIECES.to_vec());
        let pieces = proptest::collection::vec(piece, 0..7);
        (any::<bool>(), pieces).prop_map(|(first, pieces)| match first {
            true => format!("{POOLS}{}", pieces.concat()),
            false => format!("{}{POOLS}", pieces.concat()),
        })
    }

    proptest! {
        #[test]
        fn files_mean_in_parts_what_they_mean_as_a_whole(first in texts(), second in texts()) {
            let (mut memory, mut before) = (Memory::default(), None);
            for text in [&first, &second] {
                let files = files(text);
                let whole = as_a_whole(&files, &terms());
                let beside = Before { spec: before.as_ref(), memory: &mut memory };
                if let Some(apart) = check(&files, &terms(), beside) {
                    prop_assert_eq!(&apart.result.as_ref().ok(), &whole.result.as_ref().ok());
                    prop_assert_eq!(lines(apart.doubts), lines(whole.doubts));
                    prop_assert_eq!(apart.references, whole.references);
                    before = apart.result.ok();
                }
            }
        }
    }

    #[test]
    fn each_piece_that_is_right_by_itself_is_read_apart() {
        for piece in PIECES.iter().take(16).filter(|piece| !piece.starts_with("u3")) {
            let text = format!("{POOLS}{piece}");

            assert!(again(&text, None, &mut Memory::default()).is_some(), "{piece}");
        }
    }

    #[test]
    fn only_what_is_said_anew_is_read_and_what_stays_is_the_same() {
        let tenant = |number: usize| format!("[tenants.t{number}]\nuse = [\"s\"]\npool = \"a\"\n");
        let all: String = (0..100).map(tenant).collect();
        let mut memory = Memory::default();
        let first = again(&format!("{POOLS}{all}"), None, &mut memory).unwrap();
        assert_eq!(memory.read(), 1, "all of them say the same");

        let edited = all.replace(&tenant(7), "[tenants.t7]\npool = \"b\"\n");
        let edited = format!("{POOLS}[tenants.new]\npool = \"b\"\n{edited}");
        let second = again(&edited, Some(&first), &mut memory).unwrap();

        assert_eq!(memory.read(), 1, "two of them say something new, and it is the same");
        let differ: Vec<&str> = second
            .tenants
            .iter()
            .filter(|(id, spec)| {
                first.tenant(id.as_str()).is_none_or(|before| !Arc::ptr_eq(before, spec))
            })
            .map(|(id, _)| id.as_str())
            .collect();
        assert_eq!(differ, ["new", "t7"]);
        let ids = first.tenants.iter().map(|(id, _)| id.shared());
        let kept = ids.filter(|id| {
            let now = second.tenants.get(id).map(|(now, _)| now.shared());
            now.is_some_and(|now| Arc::ptr_eq(&now, id))
        });
        assert_eq!(kept.count(), 100);
    }

    #[test]
    fn what_hangs_on_other_tables_is_read_again_once_they_change() {
        let tenants = "[tenants.t]\nuse = [\"s\"]\n";
        let mut memory = Memory::default();
        again(&format!("{POOLS}{tenants}"), None, &mut memory).unwrap();

        // The tenant has no pool, and a route of the set now goes there.
        let text = format!("{}{tenants}", POOLS.replace(", pool = \"b\" }]", " }]"));

        assert_eq!(again(&text, None, &mut memory), None);
        let fewer = POOLS.replace("[pools.a]\ndns = \"a:1\"\n", "");
        again(&format!("{fewer}{tenants}"), None, &mut memory).unwrap();
        assert_eq!(memory.read(), 1);
    }
}
