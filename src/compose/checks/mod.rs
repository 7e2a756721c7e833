//! What is judged in a service that may run only once.
//!
//! A problem breaks what is promised: it starts two workers, loses data, lets the service be killed in the middle
//! of its stop, or has it called unhealthy while it starts as it should. A warning is what works today and will
//! puzzle an operator later.

mod budgets;
mod copies;
mod data;
mod environment;
mod policy;

use super::{fault::Finding, project::Project, select::Ours, service::Service};

/// Everything that is wrong with the chosen services.
pub(super) fn all(ours: &[Ours<'_, '_>], services: &[Service<'_>], project: &Project) -> Vec<Finding> {
    let mut found = Vec::new();
    for each in ours {
        let settings = environment::read(each, &mut found);
        copies::check(each.service, &mut found);
        budgets::check(each.service, &settings, &mut found);
        policy::check(each.service, &settings, &mut found);
        data::check(each.service, &settings, project, &mut found);
    }
    data::shared(ours, services, project, &mut found);
    found
}
