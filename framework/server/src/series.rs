//! Values by function and queue, of which there is a bounded number.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// The most pairs of a function and a queue that are told apart; all others share one value.
pub(crate) const SERIES_MAX: usize = 1_000;
/// The name of the function and of the queue that the others are counted under.
pub(crate) const OTHERS: &str = "(others)";

/// Values by function and queue, at most [`SERIES_MAX`] and one for all others.
#[derive(Debug)]
pub(crate) struct SeriesMap<T> {
    series: Vec<Series<T>>,
    by_function: FxHashMap<Arc<str>, Vec<usize>>,
    /// The series of the last call: tasks of one function mostly come together.
    last: usize,
}

/// The value of one function and queue.
#[derive(Debug, Clone)]
pub(crate) struct Series<T> {
    pub(crate) function: Arc<str>,
    pub(crate) queue: Arc<str>,
    pub(crate) value: T,
}

impl<T> Default for SeriesMap<T> {
    fn default() -> Self {
        Self { series: Vec::new(), by_function: FxHashMap::default(), last: 0 }
    }
}

impl<T: Default> SeriesMap<T> {
    /// The value of this function and queue, or the one of all others.
    pub(crate) fn entry(&mut self, function: &Arc<str>, queue: &Arc<str>) -> &mut T {
        let is_last =
            |last: &Series<T>| Arc::ptr_eq(&last.function, function) && Arc::ptr_eq(&last.queue, queue);
        if !self.series.get(self.last).is_some_and(is_last) {
            self.last = self.find(function, queue);
        }
        &mut self.series[self.last].value
    }

    fn find(&mut self, function: &Arc<str>, queue: &Arc<str>) -> usize {
        let mut known = self.by_function.get(&**function).into_iter().flatten();
        if let Some(index) = known.find(|index| self.series[**index].queue == *queue) {
            return *index;
        }
        if self.series.len() < SERIES_MAX {
            return self.add(function.clone(), queue.clone());
        }
        match self.by_function.get(OTHERS).and_then(|others| others.first()) {
            Some(others) => *others,
            None => self.add(OTHERS.into(), OTHERS.into()),
        }
    }

    fn add(&mut self, function: Arc<str>, queue: Arc<str>) -> usize {
        let index = self.series.len();
        self.by_function.entry(function.clone()).or_default().push(index);
        self.series.push(Series { function, queue, value: T::default() });
        index
    }

    pub(crate) fn series(&self) -> &[Series<T>] {
        &self.series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_is_one_for_each_function_and_queue_up_to_the_bound() {
        let mut map = SeriesMap::<u64>::default();
        let name = |number: usize| Arc::<str>::from(number.to_string());
        for number in 0..SERIES_MAX + 50 {
            *map.entry(&name(number / 2), &name(number % 2)) += 1;
            *map.entry(&name(0), &name(0)) += 1;
        }
        let values: Vec<_> = map.series().iter().map(|series| series.value).collect();
        assert_eq!((values.len(), values[0], values[1]), (SERIES_MAX + 1, SERIES_MAX as u64 + 51, 1));
        let others = map.series().last().unwrap();
        assert_eq!((&*others.function, &*others.queue, others.value), (OTHERS, OTHERS, 50));
    }
}
