//! A table of a bounded size. When it is full the oldest goes.

use std::collections::BTreeMap;

/// Values by key, and which is how old. What is put again is the youngest.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    entries: BTreeMap<K, (u64, V)>,
    ages: BTreeMap<u64, K>,
    next_age: u64,
    entries_max: usize,
}

impl<K: Copy + Ord, V> Table<K, V> {
    pub(super) const fn new(entries_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            ages: BTreeMap::new(),
            next_age: 0,
            entries_max,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Puts it in, or in the place of what was there.
    pub(super) fn put(&mut self, key: K, value: V) {
        let age = self.next_age;
        self.next_age += 1;
        if let Some((before, _)) = self.entries.insert(key, (age, value)) {
            self.ages.remove(&before);
        }
        self.ages.insert(age, key);
        while self.entries.len() > self.entries_max {
            self.remove_oldest();
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (age, value) = self.entries.remove(key)?;
        self.ages.remove(&age);
        Some(value)
    }

    /// Removes the oldest ones, as long as they are over.
    pub(super) fn expire(&mut self, is_over: impl Fn(&V) -> bool) {
        while let Some((_, key)) = self.ages.first_key_value() {
            if !self.get(key).is_some_and(&is_over) {
                break;
            }
            self.remove_oldest();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn remove_oldest(&mut self) {
        if let Some((_, key)) = self.ages.pop_first() {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_what_is_put_again_is_young() {
        let mut table = Table::new(2);
        table.put('a', 1);
        table.put('b', 2);
        table.put('a', 3);
        table.put('c', 4);
        assert_eq!((table.get(&'a'), table.get(&'b'), table.len()), (Some(&3), None, 2));
        assert_eq!(table.remove(&'a'), Some(3));
        assert_eq!(table.remove(&'a'), None);
        table.put('d', 5);
        table.put('e', 6);
        assert_eq!(table.iter().map(|(key, _)| *key).collect::<String>(), "de");
        assert_eq!(table.ages.len(), 2);
        table.expire(|value| *value < 6);
        assert_eq!(table.iter().map(|(key, _)| *key).collect::<String>(), "e");
        table.expire(|_| true);
        assert_eq!((table.len(), table.ages.len()), (0, 0));
        table.expire(|_| true);
    }
}
