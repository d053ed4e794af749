//! Checks a few files of many beside what all of them meant before, where tenants are all that they
//! say and said. Whatever is wrong or odd is left to the reading of all files, which tells of it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::sorted::{Difference, Sorted};
use crate::base::stretch::Stretch;
use crate::config::faults::Faults;
use crate::config::files::{File, Files};
use crate::config::problem::Problems;
use crate::config::spec::{NamedTenant, RoutesSpec, TenantSpec};
use crate::model::ids::TenantId;

use super::answers::Pages;
use super::apart::{self, Named, Reader};
use super::around::Milestones;
use super::gather::{self, Gathered};
use super::memory::{Learnt, Memories, Memory};
use super::sections::{self, Section, Sections};
use super::{Scope, Terms, access, domains, reach, tenant};

/// What was checked last.
#[derive(Clone, Copy, Debug)]
pub struct Last<'l> {
    /// The files.
    pub files: &'l Files,
    /// What they meant.
    pub spec: &'l RoutesSpec,
    /// What is remembered of them.
    pub memory: &'l Memory,
}

/// What files mean of which a few have changed.
#[derive(Debug)]
pub struct Edited {
    /// Their meaning.
    pub spec: RoutesSpec,
    /// For [`Memory::learn`], once they are what was checked last.
    pub learnt: Learnt,
}

/// Checks files that are right; `None` for others, and for some that are.
pub(super) fn check(files: &Files, terms: &Terms<'_>, last: &Last<'_>) -> Option<Edited> {
    check_within(files, terms, last, MOST_WHOLE)
}

/// As [`check`], taking files apart that are no larger than this.
fn check_within(
    files: &Files,
    terms: &Terms<'_>,
    last: &Last<'_>,
    most_whole: usize,
) -> Option<Edited> {
    let Last { spec, memory, .. } = last;
    if !memory.frame.is_of(spec) {
        return None;
    }
    let differences: Vec<_> = files.files.differences(&last.files.files, File::eq).collect();
    let of = |file: fn(&Difference<'_, File>) -> Option<File>| {
        Files::of(files.root.clone(), differences.iter().filter_map(file).collect())
    };
    let before = of(|Difference { before, .. }| before.cloned());
    let now = of(|Difference { now, .. }| now.cloned());
    let (old, new, milestones) = taken_apart(&differences, memory, most_whole)?;
    let (old, new) = (Part::of(&before, old, terms)?, Part::of(&now, new, terms)?);
    let gone = old.ids(spec)?;

    let mut pages = Pages::new(terms.lost);
    let frame = &memory.frame;
    let naming = frame.naming.as_ref()?;
    let mut reader = Reader {
        terms,
        scope: Scope {
            pools: &frame.pools,
            naming,
            sets: &frame.sets,
            plans: &frame.plans,
            files: &now,
            most_kept: terms.most_kept,
        },
        pages: &mut pages,
        faults: Faults::new(&now.files),
        memories: Memories::beside(memory),
        is_sure: reach::is_sure(&naming.from),
    };
    let mut named = Vec::new();
    let stretch = Stretch::begin();
    for (number, file, section) in new.sections() {
        stretch.step();
        named.push(reader.tenant(number, file, section)?);
    }
    let Reader { mut faults, mut memories, .. } = reader;
    milestones.into_iter().for_each(|of_file| memories.mark(of_file));
    if faults.count_doubts() > 0 || !faults.take_references().is_empty() {
        return None;
    }
    let tenants = merged(spec, &gone, named)?;
    let said = old.sections().filter_map(|(_, file, section)| {
        let (_, words) = section.parts(&file.text)?;
        Some((section.form, (&file.text, words)))
    });
    let texts = before.files.iter().map(|file| file.text.clone()).collect();
    let learnt = memories.into_learnt(said, texts);
    Some(Edited { spec: RoutesSpec { tenants, ..RoutesSpec::clone(spec) }, learnt })
}

/// What is wrong with files of tenants alone by themselves, beside all that tenants may refer to; `None` where
/// nothing is, and where that is not known.
pub(super) fn wrong_alone(files: &Files, terms: &Terms<'_>, last: &Last<'_>) -> Option<Problems> {
    let frame = &last.memory.frame;
    let naming = frame.naming.as_ref().filter(|_| frame.is_of(last.spec))?;
    let mut faults = Faults::new(&files.files);
    let texts = files.files.iter().map(|file| &*file.text);
    let gathered = gather::gather(texts, terms.lookup, &mut faults);
    let mut pages = Pages::new(terms.lost);
    let scope = Scope {
        pools: &frame.pools,
        naming,
        sets: &frame.sets,
        plans: &frame.plans,
        files,
        most_kept: terms.most_kept,
    };
    tenant::check_tenants(gathered.tenants, &scope, &mut pages, &mut faults);
    (!faults.is_empty()).then(|| faults.into_problems())
}

/// What files said where they have changed and what they say there now, and where the new ones can be taken apart.
type TakenApart<'p> = (Vec<Sections<'p>>, Vec<Sections<'p>>, Vec<Option<Milestones>>);

/// Takes apart what is around the differences of files with many tenants, and all of the others. `None` where
/// that is too much, or cannot be done.
fn taken_apart<'p>(
    differences: &[Difference<'p, File>],
    memory: &Memory,
    most_whole: usize,
) -> Option<TakenApart<'p>> {
    let (mut old, mut new, mut milestones) = TakenApart::default();
    for Difference { before, now } in differences {
        let known = before.and_then(|before| memory.milestones(&before.text));
        if let Some((known, file)) = known.zip(*now)
            && let Some(around) = known.around(&file.text, MOST_AROUND)
        {
            old.push(Sections::alone(around.before));
            new.push(Sections::alone(around.now));
            milestones.push(Some(around.milestones));
            continue;
        }
        if [before, now].into_iter().flatten().any(|file| file.text.len() > most_whole) {
            return None;
        }
        if let Some(before) = before {
            old.push(sections::split(&before.text)?);
        }
        if let Some(now) = now {
            let apart = sections::split(&now.text)?;
            milestones.push(Milestones::of(&now.text, &apart.tenants));
            new.push(apart);
        }
    }
    Some((old, new, milestones))
}

/// Files that say tenants and nothing else where they have changed.
struct Part<'p> {
    files: &'p Files,
    apart: Vec<Sections<'p>>,
}

impl<'p> Part<'p> {
    /// `None` where they say something else, or are wrong.
    fn of(files: &'p Files, apart: Vec<Sections<'p>>, terms: &Terms<'_>) -> Option<Self> {
        let mut faults = Faults::new(&files.files);
        let rests = apart.iter().map(|sections| &*sections.rest);
        let Gathered { naming, identity, error_pages, pools, route_sets, plans, tenants } =
            gather::gather(rests, terms.lookup, &mut faults);
        let is_bare = naming.is_none()
            && identity.is_none()
            && error_pages.is_none()
            && pools.is_empty()
            && route_sets.is_empty()
            && plans.is_empty()
            && tenants.is_empty();
        (is_bare && faults.is_empty()).then_some(Self { files, apart })
    }

    /// Each with the number of its file.
    fn sections(&self) -> impl Iterator<Item = (usize, &'p File, &Section)> {
        let files = self.files.files.iter().zip(&self.apart).enumerate();
        files.flat_map(|(number, (file, apart))| {
            apart.tenants.iter().map(move |section| (number, file, section))
        })
    }

    /// The ids of tenants that are in `spec`; `None` where one is not, or hangs on other files.
    fn ids(&self, spec: &RoutesSpec) -> Option<BTreeSet<Cow<'p, str>>> {
        let mut faults = Faults::new(&self.files.files);
        let mut ids = BTreeSet::new();
        for (_, file, section) in self.sections() {
            let id = apart::id(file, section, &mut faults)?;
            if spec.has_pages_of_its_own(spec.tenant(&id)?) {
                return None;
            }
            ids.insert(id);
        }
        Some(ids)
    }
}

/// All tenants, after those of some files have become others; `None` where an id is there twice, or
/// is none, and where nobody is left.
fn merged(
    spec: &RoutesSpec,
    gone: &BTreeSet<Cow<'_, str>>,
    named: Vec<Named<'_>>,
) -> Option<Sorted<NamedTenant>> {
    let mut tenants = spec.tenants.clone();
    let mut met: BTreeSet<&str> = BTreeSet::new();
    for (id, now) in &named {
        let before = spec.tenants.get(id);
        let is_free = before.is_none() || gone.contains(id);
        if !met.insert(id) || !is_free || spec.has_pages_of_its_own(now) {
            return None;
        }
        match before {
            Some((_, before)) if Arc::ptr_eq(before, now) || before == now => {}
            Some((id, _)) => drop(tenants.insert((id.clone(), Arc::clone(now)))),
            None => drop(tenants.insert((TenantId::new(id).ok()?, Arc::clone(now)))),
        }
    }
    for id in gone.iter().filter(|id| !met.contains(&***id)) {
        tenants.remove(id);
    }
    // Somebody else may have the same key, or the same domain.
    let before = |id: &str| spec.tenant(id).map(AsRef::as_ref);
    let are_new = |now: &TenantSpec, id: &str| {
        !now.keys().is_empty() && before(id).is_none_or(|before| before.keys() != now.keys())
    };
    if named.iter().any(|(id, now)| are_new(now, id)) && !access::are_apart(tenants.iter()) {
        return None;
    }
    let are_new = |now: &TenantSpec, id: &str| {
        !now.domains().is_empty()
            && before(id).is_none_or(|before| before.domains() != now.domains())
    };
    if named.iter().any(|(id, now)| are_new(now, id)) && !domains::are_apart(tenants.iter()) {
        return None;
    }
    (!tenants.is_empty()).then_some(tenants)
}

/// 1 MiB: a larger file is taken apart once, by the reading of all files.
const MOST_WHOLE: usize = 1 << 20;
/// 1 MiB: as much around an edit is left to the reading of all files.
const MOST_AROUND: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use crate::base::sorted::Keyed;
    use crate::config::Known;

    use super::super::{Before, Lost, check_routes};
    use super::*;

    const KNOWN: Known<'_> = Known { balancers: &["round-robin"], keyed: &[] };
    const POOLS: &str = "[pools.a]\ndns = \"a:1\"\n";

    fn terms() -> Terms<'static> {
        let (lookup, lost) = (&|_: &str| None, Lost::Problem);
        Terms { known: &KNOWN, lookup, lost, held: None, most_kept: None }
    }

    fn file(name: &str, text: &str) -> File {
        File { path: Path::new(name).into(), text: text.into() }
    }

    /// Files that were checked.
    struct World {
        files: Files,
        spec: RoutesSpec,
        memory: Memory,
    }

    impl World {
        fn of(files: impl IntoIterator<Item = File>) -> Self {
            let files = Files::of("r".into(), files.into_iter().collect());
            let mut memory = Memory::default();
            let before = Before { spec: None, memory: &mut memory };
            let spec = check_routes(&files, &terms(), before).result.unwrap();
            Self { files, spec, memory }
        }

        /// Takes in an edit of one file; tells how many sections had to be read.
        fn edit(&mut self, file: File) -> Option<usize> {
            self.edit_within(file, MOST_WHOLE)
        }

        /// As [`Self::edit`], as of a file that is too large to be taken apart: by what is around the edit alone.
        fn edit_around(&mut self, file: File) -> Option<usize> {
            self.edit_within(file, 0)
        }

        fn edit_within(&mut self, file: File, most_whole: usize) -> Option<usize> {
            let mut files = self.files.clone();
            files.files.insert(file);
            let Self { files: before, spec, memory } = &*self;
            let last = Last { files: before, spec, memory };
            let edited = check_within(&files, &terms(), &last, most_whole)?;
            self.memory.learn(edited.learnt);
            (self.files, self.spec) = (files, edited.spec);
            Some(self.memory.read())
        }
    }

    fn tenant(name: &str, sample: usize) -> File {
        let text = format!("[tenants.{name}]\npool = \"a\"\nreplay-memory = \"{sample}B\"\n");
        file(&format!("{name}.toml"), &text)
    }

    #[test]
    fn of_many_files_the_one_that_is_edited_is_read_unless_its_words_are_known() {
        let tenants = (0..2000).map(|number| tenant(&format!("t{number}"), number % 2));
        let mut world = World::of(tenants.chain([file("_pools.toml", POOLS)]));
        let before = world.spec.tenants.clone();

        assert_eq!(world.edit(tenant("t7", 0)), Some(0));
        assert_eq!(world.edit(tenant("t7", 9)), Some(1));

        let same = |now: &NamedTenant, before: &NamedTenant| Arc::ptr_eq(&now.1, &before.1);
        let changed: Vec<&str> = world
            .spec
            .tenants
            .differences(&before, same)
            .filter_map(|d| Some(d.now?.key()))
            .collect();
        assert_eq!(changed, ["t7"]);
        let shared = |id: &str| Arc::clone(world.spec.tenant(id).unwrap());
        assert!(Arc::ptr_eq(&shared("t0"), &shared("t1998")));
    }

    /// A file with many tenants, of which each says something else.
    fn many(number: usize, more: &str) -> File {
        let tenant =
            |number| format!("[tenants.t{number}]\npool = \"a\"\nreplay-memory = \"{number}B\"\n");
        let begin: String = (0..number).map(tenant).collect();
        let end: String = (number..200).map(tenant).collect();
        file("r.toml", &format!("{POOLS}{begin}{more}{end}"))
    }

    #[test]
    fn of_many_tenants_in_one_file_those_that_are_edited_are_read_and_no_others() {
        let mut world = World::of([many(0, "")]);
        let new = "[tenants.new]\npool = \"a\"\n";

        assert_eq!(world.edit_around(many(100, new)), Some(1));
        assert_eq!(world.spec.tenants.len(), 201);
        assert_eq!(world.edit_around(many(7, new)), Some(0), "it was moved");
        let last = many(200, "use = []\n");
        assert_eq!(world.edit_around(last), Some(1), "it is gone, the last is edited");
        assert_eq!(world.spec.tenants.len(), 200);
        let before = world.files.files.nth(0).unwrap().text.clone();
        assert_eq!(world.edit_around(many(150, "use = []\n")), Some(1));
        assert_eq!(before.holders(), 1, "its text is held by nobody else");
        for more in
            ["[tenants.t7]\npool = \"a\"\n", "[pools.b]\n", "pool = \"b\"\n", "x = '''\n", "]\n"]
        {
            assert_eq!(world.edit(many(100, more)), None, "{more}");
        }
    }

    /// What may stand in place of lines of a file with many tenants: most of it is wrong in most places.
    const LINES: &[&str] = &[
        "[tenants.t7]",
        "[tenants.t150]\npool = \"a\"",
        "[tenants.n]\npool = \"a\"",
        "[tenants.n.tracing]\nsample = \"1%\"",
        "[[tenants.t64.routes]]\npath = \"/x\"",
        "use = []",
        "pool = \"b\"",
        "",
        "# a comment",
        "  [tenants.m] # another\npool = \"a\"",
        "[tenants]\nk = { pool = \"a\" }",
        "[pools.b]\ndns = \"b:1\"",
        "x = '''",
        "use = [",
        "\r",
        "\u{feff}",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn an_edit_of_a_file_with_many_tenants_means_what_a_reading_of_all_of_it_says(
            edits in vec((0_usize..600, 0_usize..4, select(LINES)), 1..4)
        ) {
            let mut world = World::of([many(0, "")]);
            for (place, gone, line) in edits {
                let text = &world.files.files.nth(0).unwrap().text;
                let lines: Vec<&str> = text.lines().collect();
                let (begin, rest) = lines.split_at(place.min(lines.len()));
                let rest = rest.get(gone..).unwrap_or_default();
                let edited = [begin, &[line], rest].concat().join("\n") + "\n";
                let edited = file("r.toml", &edited);
                let files = Files::of("r".into(), [edited.clone()].into_iter().collect());
                let mut memory = Memory::default();
                let before = Before { spec: None, memory: &mut memory };
                let whole = check_routes(&files, &terms(), before);
                // By what is around it, and where that is not enough by all of the file.
                if world.edit_around(edited.clone()).is_some() || world.edit(edited).is_some() {
                    prop_assert_eq!(Some(&world.spec), whole.result.as_ref().ok());
                }
            }
        }
    }

    #[test]
    fn what_is_remembered_holds_no_text_of_before_and_nothing_that_is_said_no_more() {
        let mut world = World::of([tenant("t", 1), tenant("u", 1), file("_pools.toml", POOLS)]);
        let old: Vec<_> = world.files.files.iter().map(|file| file.text.clone()).collect();

        for number in 2..5000 {
            assert_eq!(world.edit(tenant("t", number)), Some(1));
            assert_eq!(world.edit(tenant("u", number)), Some(0));
        }

        assert!(world.memory.len() < 1100, "{}", world.memory.len());
        let held = old.iter().filter(|text| text.holders() > 1).count();
        assert_eq!(held, 1, "that of the pools");
    }

    #[test]
    fn a_key_that_another_tenant_has_is_left_to_the_reading_of_all_files() {
        let keyed = |name: &str, digit: char| {
            let digest: String = [digit; 64].iter().collect();
            let text =
                format!("[tenants.{name}]\npool = \"a\"\nkeys.k.hash = \"sha256:{digest}\"\n");
            file(&format!("{name}.toml"), &text)
        };
        let mut world = World::of([keyed("t", '1'), keyed("u", '2'), file("_pools.toml", POOLS)]);

        assert_eq!(world.edit(keyed("t", '2')), None);
        assert_eq!(world.edit(keyed("t", '3')), Some(1));
        assert!(world.edit(keyed("u", '1')).is_some(), "nobody has it any more");
    }

    #[test]
    fn a_domain_that_another_tenant_has_is_left_to_the_reading_of_all_files() {
        let shared = format!("{POOLS}[tenant]\nfrom = [{{ domain = true }}]\n");
        let with = |name: &str, host: &str| {
            let text = format!("[tenants.{name}]\npool = \"a\"\ndomains = [\"{host}\"]\n");
            file(&format!("{name}.toml"), &text)
        };
        let mut world =
            World::of([with("t", "t.test"), with("u", "u.test"), file("_pools.toml", &shared)]);

        assert_eq!(world.edit(with("t", "u.test")), None);
        assert_eq!(world.edit(with("t", "v.test")), Some(1));
        assert!(world.edit(with("u", "t.test")).is_some(), "nobody has it any more");
    }

    #[test]
    fn what_is_wrong_with_a_file_by_itself_is_told_as_the_reading_of_all_files_tells_it() {
        let shared = format!("{POOLS}[plans.p]\npool = \"a\"\n");
        let world = World::of([tenant("t", 1), tenant("u", 2), file("_pools.toml", &shared)]);
        let World { files, spec, memory } = &world;
        let last = Last { files, spec, memory };
        let alone = |own: &File| {
            let one = Files::of("r".into(), [own.clone()].into_iter().collect());
            wrong_alone(&one, &terms(), &last)
        };
        let whole = |own: &File| {
            let mut files = files.clone();
            files.files.insert(own.clone());
            let mut memory = Memory::default();
            check_routes(&files, &terms(), Before { spec: None, memory: &mut memory }).result.err()
        };
        for (text, is_known) in [
            ("pool = \"a\"\npol = 1", true),
            ("pool = \"b\"", true),
            ("plan = \"q\"", true),
            ("plan = \"p\"\nlimits.requests = \"many\"", true),
            ("pool = \"a\"\nreplay-memory = 5\nroutes = [{ path = \"x\", pool = \"b\" }]", true),
            ("pool = \"a\"\nuse = [\"none\"]", true),
            ("pool = = 1", true),
            ("plan = \"p\"", false),
        ] {
            let own = file("t.toml", &format!("[tenants.t]\n{text}\n"));

            assert_eq!(alone(&own), whole(&own), "{text}");
            assert_eq!(alone(&own).is_some(), is_known, "{text}");
        }
        // Who else has it only all files tell.
        let twice = file("t.toml", "[tenants.u]\npool = \"a\"\n");
        assert!(alone(&twice).is_none() && whole(&twice).is_some());
    }

    #[test]
    fn what_is_remembered_of_other_tables_is_of_no_use() {
        let mut world = World::of([tenant("t", 1), file("_pools.toml", POOLS)]);
        let other = World::of([
            tenant("t", 1),
            file(
                "_pools.toml",
                &POOLS
                    .replace("pools.a", "pools.b")
                    .replace("a:1\"", "a:1\"\n[pools.a]\ndns = \"a:1\""),
            ),
        ]);
        world.memory = other.memory;

        assert_eq!(world.edit(tenant("t", 2)), None);
    }
}
