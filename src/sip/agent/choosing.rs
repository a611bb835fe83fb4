//! Which trunk a call goes out by: those of a group in their order, by weight among equals, without those that are down, out
//! or full; and which failures have the next one tried. No clock and no chance of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::limits::{TRUNK_SILENT_OUT, TRUNKS_PER_GROUP_MAX};

use super::event::{End, EndedBy};
use super::trunks::{TrunkChange, TrunkId};

/// One trunk of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub trunk: TrunkId,
    /// The lowest is tried first.
    pub priority: u16,
    /// Its share of the calls among those of the same priority. 0: only when those with a weight cannot.
    pub weight: u16,
}

/// Trunks that take each other's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrunkGroup {
    /// The first are those of the lowest priority.
    members: Vec<Member>,
}

/// What is known of the trunks of all groups: how many calls each has, and which are out.
#[derive(Clone, Debug, Default)]
pub struct TrunkLoads {
    loads: BTreeMap<TrunkId, Load>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    calls: u32,
    /// 0: no limit.
    calls_max: u32,
    is_down: bool,
    out_until: Option<Instant>,
}

/// Why there is no trunk for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTrunk {
    /// There is none that was not tried.
    #[error("every trunk was tried")]
    Tried,
    /// Those that are there have as many calls as they may.
    #[error("every trunk has as many calls as it may")]
    Full,
    /// None is there. One is back after this time; none: who knows.
    #[error("every trunk is out")]
    Out(Option<Duration>),
}

impl TrunkGroup {
    /// Of its trunks. Those beyond [`TRUNKS_PER_GROUP_MAX`] are left out.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        let mut members: Vec<Member> = members.into_iter().take(TRUNKS_PER_GROUP_MAX).collect();
        members.sort_by_key(|member| member.priority);
        Self { members }
    }

    /// The trunks, those that are tried first at first.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The trunk for a call that those in `tried` did not take. The same number finds the same one.
    ///
    /// # Errors
    /// There is none.
    pub fn choose(&self, now: Instant, loads: &TrunkLoads, tried: &[TrunkId], random: u64) -> Result<TrunkId, NoTrunk> {
        let untried = || self.members.iter().filter(|member| !tried.contains(&member.trunk));
        let able = |member: &&Member| loads.is_there(now, member.trunk) && !loads.is_full(member.trunk);
        let Some(first) = untried().find(able) else {
            return Err(self.why_none(now, loads, tried));
        };
        let of_priority = || {
            untried()
                .filter(able)
                .filter(|member| member.priority == first.priority)
        };
        let sum: u64 = of_priority().map(|member| u64::from(member.weight)).sum();
        if sum == 0 {
            // Alike.
            let count = of_priority().count().max(1);
            let at = usize::try_from(random % count as u64).unwrap_or(0);
            return Ok(of_priority().nth(at).unwrap_or(first).trunk);
        }
        let mut left = random % sum;
        for member in of_priority() {
            let weight = u64::from(member.weight);
            if left < weight {
                return Ok(member.trunk);
            }
            left -= weight;
        }
        Ok(first.trunk)
    }

    fn why_none(&self, now: Instant, loads: &TrunkLoads, tried: &[TrunkId]) -> NoTrunk {
        let mut untried = self.members.iter().filter(|member| !tried.contains(&member.trunk));
        if untried.clone().next().is_none() {
            return NoTrunk::Tried;
        }
        if untried.clone().any(|member| loads.is_there(now, member.trunk)) {
            return NoTrunk::Full;
        }
        let back = untried
            .by_ref()
            .filter_map(|member| loads.back_after(now, member.trunk));
        NoTrunk::Out(back.min())
    }
}

impl TrunkLoads {
    /// How many calls a trunk may have at a time. 0: as many as there are.
    pub fn limit(&mut self, trunk: TrunkId, calls_max: u32) {
        self.loads.entry(trunk).or_default().calls_max = calls_max;
    }

    /// Nothing is known of a trunk any more.
    pub fn remove(&mut self, trunk: TrunkId) {
        self.loads.remove(&trunk);
    }

    /// What became of a trunk: [`Event::Trunk`](super::Event::Trunk).
    pub fn take_change(&mut self, now: Instant, trunk: TrunkId, change: TrunkChange) {
        let load = self.loads.entry(trunk).or_default();
        match change {
            TrunkChange::Up => load.is_down = false,
            TrunkChange::Down => load.is_down = true,
            TrunkChange::Busy(wait) => load.out_until = Some(now + wait),
            TrunkChange::Registered | TrunkChange::Unregistered(_) => {}
        }
    }

    /// A call begins, either way. False: the trunk has as many as it may, and this one is not counted.
    pub fn begin(&mut self, trunk: TrunkId) -> bool {
        if self.is_full(trunk) {
            return false;
        }
        self.loads.entry(trunk).or_default().calls += 1;
        true
    }

    /// A call begins in the place of another one of the trunk, which ends: it may have as many as it may.
    pub fn begin_instead(&mut self, trunk: TrunkId) {
        self.loads.entry(trunk).or_default().calls += 1;
    }

    /// A call that began is over. True: it came to nothing by the trunk's fault, and another one may be tried.
    pub fn end(&mut self, now: Instant, trunk: TrunkId, end: &End) -> bool {
        let load = self.loads.entry(trunk).or_default();
        load.calls = load.calls.saturating_sub(1);
        if end.by == EndedBy::Time && end.status == 408 {
            // The next caller is not to wait as long.
            load.out_until = load.out_until.max(Some(now + TRUNK_SILENT_OUT));
        }
        fails_over(end)
    }

    /// Calls that a trunk has.
    pub fn calls(&self, trunk: TrunkId) -> u32 {
        self.loads.get(&trunk).map_or(0, |load| load.calls)
    }

    fn is_full(&self, trunk: TrunkId) -> bool {
        let load = self.loads.get(&trunk).copied().unwrap_or_default();
        load.calls_max != 0 && load.calls >= load.calls_max
    }

    fn is_there(&self, now: Instant, trunk: TrunkId) -> bool {
        let load = self.loads.get(&trunk).copied().unwrap_or_default();
        !load.is_down && load.out_until.is_none_or(|until| until <= now)
    }

    fn back_after(&self, now: Instant, trunk: TrunkId) -> Option<Duration> {
        let load = self.loads.get(&trunk).filter(|load| !load.is_down)?;
        Some(load.out_until?.saturating_duration_since(now))
    }
}

/// Is a call that ended so to be tried by another trunk? It is where the trunk could not: no answer, 5xx, its own way there
/// (430), or that it does not know us (401, 407). It is not where whoever is called could not or would not (404, 486, 6xx), or
/// where we ended it.
pub fn fails_over(end: &End) -> bool {
    match end.by {
        EndedBy::Own => false,
        EndedBy::Time | EndedBy::Peer => matches!(end.status, 401 | 407 | 408 | 430 | 500..=599),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(trunk: u64, priority: u16, weight: u16) -> Member {
        Member {
            trunk: TrunkId(trunk),
            priority,
            weight,
        }
    }

    fn end(by: EndedBy, status: u16) -> End {
        End {
            by,
            status,
            cause: None,
            forward: None,
        }
    }

    #[test]
    fn weights_share_the_calls_of_the_first_priority() {
        let group = TrunkGroup::new([member(9, 2, 1), member(1, 1, 3), member(2, 1, 1), member(3, 1, 0)]);
        let (now, mut loads) = (Instant::now(), TrunkLoads::default());
        let share = |loads: &TrunkLoads, trunk: u64| {
            let all = (0..400).map(|random| group.choose(now, loads, &[], random));
            all.filter(|chosen| *chosen == Ok(TrunkId(trunk))).count()
        };
        assert_eq!([1, 2, 3, 9].map(|trunk| share(&loads, trunk)), [300, 100, 0, 0]);
        assert_eq!(group.choose(now, &loads, &[], 7), group.choose(now, &loads, &[], 7));
        // One without a weight takes what those with one cannot, and the next priority only when nobody can.
        loads.take_change(now, TrunkId(1), TrunkChange::Down);
        loads.take_change(now, TrunkId(2), TrunkChange::Down);
        assert_eq!([1, 2, 3, 9].map(|trunk| share(&loads, trunk)), [0, 0, 400, 0]);
        loads.take_change(now, TrunkId(3), TrunkChange::Down);
        assert_eq!([1, 2, 3, 9].map(|trunk| share(&loads, trunk)), [0, 0, 0, 400]);
        loads.take_change(now, TrunkId(2), TrunkChange::Up);
        assert_eq!([1, 2, 3, 9].map(|trunk| share(&loads, trunk)), [0, 400, 0, 0]);
        let alike = TrunkGroup::new([member(1, 1, 0), member(2, 1, 0)]);
        let none = TrunkLoads::default();
        assert_eq!(alike.choose(now, &none, &[], 4), Ok(TrunkId(1)));
        assert_eq!(alike.choose(now, &none, &[], u64::MAX), Ok(TrunkId(2)));
    }

    #[test]
    fn trunks_that_were_tried_are_full_or_are_out_are_passed_over() {
        let group = TrunkGroup::new([member(1, 1, 1), member(2, 2, 1)]);
        let (now, mut loads) = (Instant::now(), TrunkLoads::default());
        let choose = |loads: &TrunkLoads, tried: &[TrunkId], after: u64| {
            group.choose(now + Duration::from_secs(after), loads, tried, 0)
        };
        loads.limit(TrunkId(1), 1);
        assert!(loads.begin(TrunkId(1)) && !loads.begin(TrunkId(1)));
        assert_eq!((loads.calls(TrunkId(1)), choose(&loads, &[], 0)), (1, Ok(TrunkId(2))));
        assert_eq!(choose(&loads, &[TrunkId(2)], 0), Err(NoTrunk::Full));
        assert!(!loads.end(now, TrunkId(1), &end(EndedBy::Peer, 200)));
        assert_eq!(choose(&loads, &[], 0), Ok(TrunkId(1)));
        loads.take_change(now, TrunkId(1), TrunkChange::Busy(Duration::from_secs(20)));
        loads.take_change(now, TrunkId(2), TrunkChange::Busy(Duration::from_secs(9)));
        assert_eq!(choose(&loads, &[], 5), Err(NoTrunk::Out(Some(Duration::from_secs(4)))));
        assert_eq!(choose(&loads, &[], 9), Ok(TrunkId(2)));
        assert_eq!(choose(&loads, &[], 20), Ok(TrunkId(1)));
        assert_eq!(choose(&loads, &[TrunkId(1), TrunkId(2)], 20), Err(NoTrunk::Tried));
        assert_eq!(TrunkGroup::default().choose(now, &loads, &[], 0), Err(NoTrunk::Tried));
        loads.take_change(now, TrunkId(1), TrunkChange::Down);
        loads.take_change(now, TrunkId(2), TrunkChange::Down);
        assert_eq!(choose(&loads, &[], 20), Err(NoTrunk::Out(None)));
        loads.remove(TrunkId(1));
        assert_eq!(choose(&loads, &[], 0), Ok(TrunkId(1)));
        let many = TrunkGroup::new((0..100).map(|trunk| member(trunk, 1, 1)));
        assert_eq!(many.members().len(), TRUNKS_PER_GROUP_MAX);
    }

    #[test]
    fn the_next_one_is_tried_where_the_trunk_is_at_fault() {
        for (status, is_next) in [
            (503, true),
            (500, true),
            (504, true),
            (408, true),
            (407, true),
            (430, true),
            (486, false),
            (404, false),
            (603, false),
            (480, false),
            (403, false),
            (487, false),
            (200, false),
        ] {
            assert_eq!(fails_over(&end(EndedBy::Peer, status)), is_next, "{status}");
            assert!(!fails_over(&end(EndedBy::Own, status)));
        }
        // One that said nothing at all is not asked again at once.
        let group = TrunkGroup::new([member(1, 1, 1), member(2, 2, 1)]);
        let (now, mut loads) = (Instant::now(), TrunkLoads::default());
        assert!(loads.begin(TrunkId(1)));
        assert!(loads.end(now, TrunkId(1), &end(EndedBy::Time, 408)));
        assert_eq!(group.choose(now, &loads, &[], 0), Ok(TrunkId(2)));
        let later = now + TRUNK_SILENT_OUT;
        assert_eq!(group.choose(later, &loads, &[], 0), Ok(TrunkId(1)));
    }
}
