//! Whoever can go on is polled, nobody else is, and the task is woken when it has to be.

use std::future::{pending, poll_fn};
use std::sync::atomic::AtomicUsize;

use super::*;

/// A task that counts how often it was woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Task {
    fn wakes(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// What was polled, in its order.
#[derive(Clone, Default)]
struct Polls(Arc<Mutex<Vec<&'static str>>>);

impl Polls {
    fn note(&self, name: &'static str) {
        self.0.lock().unwrap().push(name);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Work that never ends, and leaves its waker behind.
    fn work(&self, name: &'static str, waker: Arc<Mutex<Option<Waker>>>) -> impl Future<Output = ()> + Send + 'static {
        let polls = self.clone();
        poll_fn(move |cx| {
            polls.note(name);
            *waker.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        })
    }
}

/// Polls a crew once, whose lead never ends.
fn poll(crew: &mut Crew, task: &Arc<Task>, polls: &Polls) -> Vec<&'static str> {
    let waker = task.clone().into();
    let polled = crew.poll(&mut Context::from_waker(&waker), |_| {
        polls.note("lead");
        Poll::<()>::Pending
    });
    assert_eq!(polled, Poll::Pending);
    polls.take()
}

#[test]
fn only_who_was_woken_is_polled_and_the_lead_last() {
    let (mut crew, task, polls) = (Crew::new(), Arc::<Task>::default(), Polls::default());
    let [one, other] = [(); 2].map(|()| Arc::<Mutex<Option<Waker>>>::default());
    crew.recruiting().recruit(polls.work("one", one));
    crew.recruiting().recruit(polls.work("other", other.clone()));
    assert_eq!(poll(&mut crew, &task, &polls), ["one", "other", "lead"]);
    assert_eq!(poll(&mut crew, &task, &polls), [""; 0]);
    let wake = || other.lock().unwrap().as_ref().unwrap().wake_by_ref();
    wake();
    wake();
    assert_eq!(task.wakes(), 1);
    crew.rouse();
    assert_eq!(task.wakes(), 0, "it knows already");
    assert_eq!(poll(&mut crew, &task, &polls), ["other", "lead"]);
    assert_eq!(poll(&mut crew, &task, &polls), [""; 0]);
}

#[test]
fn what_members_wake_and_take_in_is_polled_without_the_scheduler() {
    let (mut crew, task, polls) = (Crew::new(), Arc::<Task>::default(), Polls::default());
    let (recruiting, inner) = (crew.recruiting(), polls.clone());
    crew.recruiting().recruit(async move {
        inner.note("first");
        recruiting.recruit(async move { inner.note("second") });
    });
    assert_eq!(poll(&mut crew, &task, &polls), ["first", "lead", "second"]);
    assert_eq!((task.wakes(), crew.is_alone()), (0, true));
}

#[test]
fn a_seat_is_taken_again_and_a_late_wake_does_no_harm() {
    let (mut crew, task, polls) = (Crew::new(), Arc::<Task>::default(), Polls::default());
    let late = Arc::new(Mutex::new(None));
    let kept = late.clone();
    crew.recruiting().recruit(poll_fn(move |cx| {
        *kept.lock().unwrap() = Some(cx.waker().clone());
        Poll::Ready(())
    }));
    poll(&mut crew, &task, &polls);
    let late: Waker = late.lock().unwrap().take().unwrap();
    late.wake_by_ref();
    assert_eq!(poll(&mut crew, &task, &polls), [""; 0]);
    crew.recruiting().recruit(polls.work("next", Arc::default()));
    late.wake();
    assert!(poll(&mut crew, &task, &polls).starts_with(&["next"]));
    assert_eq!((crew.members.len(), crew.is_alone()), (1, false));
}

#[test]
fn who_is_always_ready_leaves_the_task_to_others() {
    let (mut crew, task, polls) = (Crew::new(), Arc::<Task>::default(), Polls::default());
    crew.recruiting().recruit(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    poll(&mut crew, &task, &polls);
    assert_eq!(task.wakes(), 1);
}

#[test]
fn a_crew_is_done_when_its_lead_is() {
    let mut crew = Crew::new();
    crew.recruiting().recruit(pending());
    assert_eq!(crew.poll(&mut Context::from_waker(Waker::noop()), |_| Poll::Ready("done")), Poll::Ready("done"));
}

#[test]
fn what_was_taken_in_ends_with_its_crew_polled_or_not() {
    let (mut crew, task, polls, held) = (Crew::new(), Arc::<Task>::default(), Polls::default(), Arc::new(()));
    let recruit = |recruiting: Recruiting| {
        let (held, recruiting_others) = (held.clone(), recruiting.clone());
        recruiting.recruit(async move {
            pending::<()>().await;
            drop((held, recruiting_others));
        });
    };
    recruit(crew.recruiting());
    poll(&mut crew, &task, &polls);
    recruit(crew.recruiting());
    let recruiting = crew.recruiting();
    assert_eq!(Arc::strong_count(&held), 3);
    drop(crew);
    recruit(recruiting);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test]
async fn wakes_from_other_threads_are_not_lost() {
    let mut crew = Crew::new();
    for _ in 0..200 {
        let (say, hear) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || say.send(()));
        crew.recruiting().recruit(async move { hear.await.unwrap() });
    }
    poll_fn(|cx| match crew.poll(cx, |_| Poll::<()>::Pending) {
        Poll::Pending if !crew.is_alone() => Poll::Pending,
        _ => Poll::Ready(()),
    })
    .await;
    assert!(crew.is_alone());
}
