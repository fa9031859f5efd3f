//! Who depends on whom, and in which order objects are dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::definition::{Definition, Kind, ObjectId};
use super::snapshot::Catalog;
use crate::error::{HwError, Result, sqlstate};

impl Catalog {
    /// The objects that read `id` directly, by id.
    pub fn dependents(&self, id: ObjectId) -> impl Iterator<Item = &Arc<Definition>> {
        self.objects().filter(move |d| d.depends_on.contains(&id))
    }

    /// The objects to drop for `DROP ids [CASCADE]`, dependents before what they read.
    /// Indexes go with their relation without being asked for.
    ///
    /// Errors: 2BP01 if others depend on them and `cascade` is off.
    pub fn drop_order(&self, ids: &[ObjectId], cascade: bool) -> Result<Vec<ObjectId>> {
        let mut doomed: BTreeSet<ObjectId> = BTreeSet::new();
        let mut order = Vec::new();
        let mut blockers = Vec::new();
        let mut queue: Vec<ObjectId> = ids.to_vec();
        while let Some(id) = queue.pop() {
            if !doomed.insert(id) {
                continue;
            }
            for dependent in self.dependents(id) {
                let unseen = dependent.kind == Kind::Index || dependent.is_hidden();
                if !ids.contains(&dependent.id) && !unseen {
                    blockers.push((id, dependent.id));
                }
                queue.push(dependent.id);
            }
        }
        if !cascade && !blockers.is_empty() {
            blockers.sort_unstable_by_key(|(of, by)| (*by, *of));
            return Err(self.still_needed(ids, &blockers));
        }
        // Objects only depend on older ones, and ids rise with age, so descending ids are safe.
        order.extend(doomed.into_iter().rev().filter(|id| self.get(*id).is_some()));
        Ok(order)
    }

    /// Errors: 2BP01 for a view that is kept because others share its rows.
    pub fn check_droppable(&self, ids: &[ObjectId]) -> Result<()> {
        let Some(hidden) = ids.iter().filter_map(|id| self.get(*id)).find(|d| d.is_hidden()) else {
            return Ok(());
        };
        let sharing = self.objects().filter(|d| d.shares().contains(&hidden.id)).map(|d| d.describe());
        let sharing: Vec<String> = sharing.collect();
        let message = format!("{} is kept because others share its rows", hidden.describe());
        Err(HwError::new(sqlstate::DEPENDENT_OBJECTS, message)
            .with_detail(format!("It goes with the last of: {}.", sharing.join(", "))))
    }

    /// Without the objects of `order`, but for views whose rows others share: those lose their
    /// names and stay as long as somebody shares them. Returns the objects that go, dependents
    /// before what they read; among them are views that were kept for no other reason.
    pub fn drop_or_hide(&self, order: &[ObjectId]) -> (Catalog, Vec<ObjectId>) {
        // Views share only older ones, so that the youngest decide first.
        let (mut needed, mut gone) = (BTreeSet::<ObjectId>::new(), Vec::new());
        for definition in self.state.objects.values().rev() {
            let leaves = order.contains(&definition.id) || definition.is_hidden();
            if leaves && !needed.contains(&definition.id) {
                gone.push(definition.id);
            } else {
                needed.extend(definition.shares());
            }
        }
        let kept = order.iter().filter(|id| needed.contains(id));
        (kept.fold(self.remove(&gone), |catalog, id| catalog.hide(*id)), gone)
    }

    fn still_needed(&self, ids: &[ObjectId], blockers: &[(ObjectId, ObjectId)]) -> HwError {
        let describe = |id: ObjectId| self.get(id).map_or_else(String::new, |d| d.describe());
        let detail: Vec<String> = blockers
            .iter()
            .map(|(of, by)| format!("{} depends on {}", describe(*by), describe(*of)))
            .collect();
        let message = match ids {
            [id] => format!("cannot drop {} because other objects depend on it", describe(*id)),
            _ => "cannot drop desired object(s) because other objects depend on them".to_string(),
        };
        HwError::new(sqlstate::DEPENDENT_OBJECTS, message)
            .with_detail(detail.join("\n"))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
    }
}
