//! Handles to stages, and the tuples of them that say what a stage needs.

use std::{any::Any, fmt, marker::PhantomData, sync::Arc};

use crate::ids::StageId;

/// What the engine keeps of a stage that is up: its output, with the type erased.
pub(crate) type Output = Arc<dyn Any + Send + Sync>;

/// Which stage of which start-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageKey {
    /// Which start-up: handles of another one are refused, because they would name the wrong stage.
    pub startup: u32,
    pub id: StageId,
}

/// A required stage that was added: what later stages name as their prerequisite.
///
/// A handle exists only after its stage was added. So cycles, missing prerequisites, misspelt names and
/// access to anything undeclared cannot be written down (invariant 1).
///
/// ```compile_fail,E0425
/// # use solostart::{Env, Startup, StageContext, WorkerMode};
/// # use std::sync::Arc;
/// # let mut startup = Startup::new("shop", Env::from_process("SHOP"), WorkerMode::Single);
/// startup.stage("sum", numbers, async |_cx: StageContext, n: Arc<Vec<i32>>| Ok(n.len())).required();
/// let numbers = startup.stage("numbers", (), async |_cx, ()| Ok(vec![1, 2, 3])).required();
/// ```
///
/// A stage that was described but not added has no handle either:
///
/// ```compile_fail,E0277
/// # use solostart::{Env, Startup, StageContext, WorkerMode};
/// # use std::sync::Arc;
/// # let mut startup = Startup::new("shop", Env::from_process("SHOP"), WorkerMode::Single);
/// # let mut other = Startup::new("shop", Env::from_process("SHOP"), WorkerMode::Single);
/// let numbers = other.stage("numbers", (), async |_cx, ()| Ok(vec![1, 2, 3]));
/// startup.stage("sum", numbers, async |_cx: StageContext, n: Arc<Vec<i32>>| Ok(n.len())).required();
/// ```
pub struct Handle<T> {
    pub(crate) key: StageKey,
    output: PhantomData<fn() -> T>,
}

/// An optional stage that was added. Whoever needs it gets `Option<Arc<T>>`: `None` where it failed.
///
/// Its output cannot be used as if it were there:
///
/// ```compile_fail,E0631
/// # use solostart::{Env, Startup, StageContext, WorkerMode};
/// # use std::sync::Arc;
/// # let mut startup = Startup::new("shop", Env::from_process("SHOP"), WorkerMode::Single);
/// let cache = startup.stage("cache", (), async |_cx, ()| Ok(vec![1, 2, 3])).optional();
/// startup.stage("sum", cache, async |_cx: StageContext, cache: Arc<Vec<i32>>| Ok(cache.len())).required();
/// ```
pub struct OptionalHandle<T> {
    pub(crate) key: StageKey,
    output: PhantomData<fn() -> T>,
}

macro_rules! handle {
    ($name:ident) => {
        impl<T> $name<T> {
            pub(crate) fn new(key: StageKey) -> Self {
                Self { key, output: PhantomData }
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $name<T> {}

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.key.id.0)
            }
        }
    };
}

handle!(Handle);
handle!(OptionalHandle);

/// Where a stage's position in the graph can be read from: both kinds of handle.
pub trait AnyHandle: Sealed + Copy {}

impl<T> AnyHandle for Handle<T> {}
impl<T> AnyHandle for OptionalHandle<T> {}

/// The outputs of the stages that are up, as far as the engine lets anyone see them.
pub struct Outputs<'a>(pub(crate) &'a [Option<Output>]);

impl fmt::Debug for Outputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outputs({} stages)", self.0.len())
    }
}

impl Outputs<'_> {
    pub(crate) fn get<T: Send + Sync + 'static>(&self, id: StageId) -> Option<Arc<T>> {
        self.0.get(id.index())?.clone()?.downcast().ok()
    }
}

/// What a stage needs: `()`, a handle, or a tuple of up to eight handles.
///
/// The stage's start hook receives the outputs in the same shape: `Arc<T>` for a [`Handle<T>`],
/// `Option<Arc<T>>` for an [`OptionalHandle<T>`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what a stage needs",
    label = "expected `()`, a handle, or a tuple of up to eight handles",
    note = "`Startup::add` and `StageBuilder::required` return a `Handle`, `StageBuilder::optional` an `OptionalHandle`"
)]
pub trait Needs: Sealed + Copy + Send + 'static {
    /// What the start hook receives.
    type Values: Clone + Send + 'static;
}

pub(crate) mod sealed {
    use super::{Outputs, StageKey};

    pub trait Sealed {
        /// The stages that are meant, in order.
        fn keys(&self, into: &mut Vec<StageKey>);
    }

    pub trait Take: super::Needs {
        /// The outputs, or `None` where one is not there: then a rule of the engine was broken.
        fn take(&self, outputs: &Outputs<'_>) -> Option<Self::Values>;
    }
}

pub(crate) use sealed::{Sealed, Take};

impl Sealed for () {
    fn keys(&self, _into: &mut Vec<StageKey>) {}
}

impl Needs for () {
    type Values = ();
}

impl Take for () {
    fn take(&self, _outputs: &Outputs<'_>) -> Option<()> {
        Some(())
    }
}

impl<T> Sealed for Handle<T> {
    fn keys(&self, into: &mut Vec<StageKey>) {
        into.push(self.key);
    }
}

impl<T: Send + Sync + 'static> Needs for Handle<T> {
    type Values = Arc<T>;
}

impl<T: Send + Sync + 'static> Take for Handle<T> {
    fn take(&self, outputs: &Outputs<'_>) -> Option<Arc<T>> {
        outputs.get(self.key.id)
    }
}

impl<T> Sealed for OptionalHandle<T> {
    fn keys(&self, into: &mut Vec<StageKey>) {
        into.push(self.key);
    }
}

impl<T: Send + Sync + 'static> Needs for OptionalHandle<T> {
    type Values = Option<Arc<T>>;
}

impl<T: Send + Sync + 'static> Take for OptionalHandle<T> {
    fn take(&self, outputs: &Outputs<'_>) -> Option<Option<Arc<T>>> {
        Some(outputs.get(self.key.id))
    }
}

macro_rules! tuple {
    ($($each:ident $place:tt),+) => {
        impl<$($each: Sealed),+> Sealed for ($($each,)+) {
            fn keys(&self, into: &mut Vec<StageKey>) {
                $(self.$place.keys(into);)+
            }
        }

        impl<$($each: Needs),+> Needs for ($($each,)+) {
            type Values = ($($each::Values,)+);
        }

        impl<$($each: Take),+> Take for ($($each,)+) {
            fn take(&self, outputs: &Outputs<'_>) -> Option<Self::Values> {
                Some(($(self.$place.take(outputs)?,)+))
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
