use super::*;

#[tokio::test]
async fn a_lost_right_never_comes_back_and_keeps_its_first_reason() {
    let keeper = GuardKeeper::exclusive();
    let guard = keeper.guard();
    assert_eq!(guard.check(), Ok(()));
    keeper.lose("the lock file was replaced");
    keeper.lose("something later");
    let lost = LockLost::taken("the lock file was replaced");
    assert_eq!(guard.check(), Err(lost.clone()));
    assert_eq!(guard.lost().await, lost);
}

#[test]
fn a_right_that_was_not_renewed_in_time_is_not_revived_by_a_late_renewal() {
    let keeper = GuardKeeper::exclusive();
    let guard = keeper.guard();
    let later = boot_time() + Duration::from_secs(60);
    keeper.limit(later, later);
    assert_eq!(guard.check(), Ok(()));
    let just_over = boot_time();
    while boot_time() == just_over {}
    keeper.limit(just_over, later);
    let lost = guard.check().unwrap_err();
    assert_eq!((lost.loss, lost.reason.as_str()), (Loss::Expired, "it was not renewed in time"));
    assert!(guard.0.lost.is_cancelled(), "nobody who waits was told");
    keeper.limit(later, later);
    assert_eq!(guard.check(), Err(lost));
}

/// How a right ends whose time was up `ago`, after what `before` noted.
fn run_out(ago: Duration, before: impl FnOnce(&GuardKeeper)) -> LockLost {
    let keeper = GuardKeeper::exclusive();
    let over = boot_time() - ago;
    keeper.limit(over, over);
    before(&keeper);
    while boot_time() == over {}
    keeper.guard().check().unwrap_err()
}

#[test]
fn a_right_that_ran_out_says_what_was_waited_for_and_what_to_look_at() {
    let look = || vec!["look at the disk".to_owned()];
    let asked = run_out(Duration::ZERO, |keeper| keeper.asked("the disk did not answer", look));
    assert_eq!(asked, LockLost::expired("it was not renewed in time: the disk did not answer", look()));
    let told = run_out(Duration::ZERO, |keeper| {
        keeper.trouble("the disk is full", look());
        keeper.asked("the disk did not answer", Vec::new);
    });
    assert_eq!(told, LockLost::expired("it was not renewed in time: the disk is full", look()));
}

#[test]
fn a_process_that_stood_still_says_for_how_long_and_does_not_blame_the_disk_that_it_had_just_asked() {
    let paused = Duration::from_secs(11);
    let still = run_out(paused, |keeper| keeper.asked("the disk did not answer", Vec::new));
    assert_eq!(still, LockLost::expired("this process stood still for about 11 s", Vec::new()));
    let before = run_out(paused, |keeper| keeper.trouble("the disk is full", Vec::new()));
    assert_eq!(before.reason, "this process stood still for about 11 s; before that, the disk is full");
}

#[test]
fn the_hard_limit_is_told_in_advance_and_ends_with_the_right() {
    let keeper = GuardKeeper::exclusive();
    let guard = keeper.guard();
    assert_eq!(guard.until_hard_limit(), None);
    let minute = Duration::from_secs(60);
    keeper.limit(boot_time(), boot_time() + minute);
    let left = guard.until_hard_limit().unwrap();
    assert!(left <= minute && left > minute / 2, "{left:?}");
    assert!(!guard.hard_limit_passed());
    keeper.limit(Duration::ZERO, Duration::ZERO);
    assert!(guard.hard_limit_passed());
    keeper.retire();
    assert!(!guard.hard_limit_passed() && guard.check().is_err());
}

#[test]
fn a_token_only_grows_and_is_zero_only_without_a_lock() {
    assert_eq!(GuardKeeper::unrestricted(InstanceId::mint()).guard().token().get(), 0);
    let keeper = GuardKeeper::exclusive();
    let guard = keeper.guard();
    assert!(guard.token() > FencingToken::NONE);
    keeper.issue(FencingToken::new(7));
    keeper.issue(FencingToken::new(5));
    assert_eq!(guard.token().as_i64(), 7);
    assert_eq!(FencingToken::new(u64::MAX).as_i64(), i64::MAX);
}

#[test]
fn a_token_is_raised_where_it_is_kept_and_only_above_one_that_is_not_lower() {
    let keeper = Arc::new(GuardKeeper::exclusive());
    let guard = keeper.guard();
    keeper.issue(FencingToken::new(5));
    let own = Arc::downgrade(&keeper);
    keeper.raise_with(move |above| {
        let token = FencingToken::new(above.get() + 1);
        own.upgrade().unwrap().issue(token);
        Ok(token)
    });
    for (stored, expected) in [(4, 5), (5, 6), (5, 6)] {
        assert_eq!(guard.raise(FencingToken::new(stored)).unwrap().get(), expected);
    }
    assert_eq!(guard.raise(FencingToken::new(9)).unwrap().get(), 10);
    assert_eq!(guard.token().get(), 10);
    keeper.lose("gone");
    assert!(guard.raise(FencingToken::new(20)).is_err());
}
