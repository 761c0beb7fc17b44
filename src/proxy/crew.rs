//! Futures that share one task: what hyper makes of an HTTP/2 connection, and of each of its streams. They stay on one thread, wake each other
//! past the scheduler, and what they have to say at one time is there together.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// What a member has to do.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How often everybody who can go on is asked before other tasks have their turn.
const ROUNDS: usize = 16;

/// The futures of one task: one that leads, and any number of others.
pub(super) struct Crew {
    board: Arc<Board>,
    lead: Member,
    members: Vec<Member>,
    /// Seats that nobody has.
    free: Vec<usize>,
    /// Who is polled in this round; kept for its room.
    round: Vec<usize>,
}

/// Takes further futures into a crew.
#[derive(Clone)]
pub(super) struct Recruiting(Arc<Board>);

/// What is known of the futures of a crew from outside.
#[derive(Default)]
struct Board {
    posted: Mutex<Posted>,
}

#[derive(Default)]
struct Posted {
    recruits: Vec<Work>,
    /// Who can go on, by their seats.
    ready: Vec<usize>,
    /// Wakes the task, while that waits.
    task: Option<Waker>,
    /// The crew is gone.
    is_over: bool,
}

/// What wakes the one on a seat.
struct Node {
    seat: usize,
    is_ready: AtomicBool,
    board: Arc<Board>,
}

/// A seat, and what is done there.
struct Member {
    work: Option<Work>,
    node: Arc<Node>,
    waker: Waker,
}

/// The seat of the one that leads.
const LEAD: usize = usize::MAX;

impl Board {
    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, what: impl FnOnce(&mut Posted)) {
        let task = {
            let mut posted = self.posted();
            what(&mut posted);
            posted.task.take()
        };
        task.inspect(Waker::wake_by_ref);
    }
}

impl Wake for Node {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_ready.swap(true, Ordering::AcqRel) {
            self.board.post(|posted| posted.ready.push(self.seat));
        }
    }
}

impl Member {
    fn new(seat: usize, board: &Arc<Board>) -> Self {
        let node = Arc::new(Node { seat, is_ready: AtomicBool::new(false), board: board.clone() });
        Self { work: None, waker: node.clone().into(), node }
    }

    /// Where to poll it, which is told of every wake from now on.
    fn turn(&self) -> Context<'_> {
        // Also where it is a wake that comes too late to be told of, what was done before it is seen.
        self.node.is_ready.swap(false, Ordering::AcqRel);
        Context::from_waker(&self.waker)
    }
}

impl Recruiting {
    /// Takes it in; it is polled with the others.
    pub(super) fn recruit(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut work: Option<Work> = Some(Box::pin(work));
        self.0.post(|posted| {
            if !posted.is_over {
                posted.recruits.extend(work.take());
            }
        });
    }
}

impl Crew {
    /// A crew without members, whose lead is to be polled.
    pub(super) fn new() -> Self {
        let board = Arc::<Board>::default();
        let crew =
            Self { lead: Member::new(LEAD, &board), board, members: Vec::new(), free: Vec::new(), round: Vec::new() };
        crew.rouse();
        crew
    }

    pub(super) fn recruiting(&self) -> Recruiting {
        Recruiting(self.board.clone())
    }

    /// Has the lead polled, for something was changed in it.
    pub(super) fn rouse(&self) {
        self.lead.waker.wake_by_ref();
    }

    /// Whether only the lead is left.
    pub(super) fn is_alone(&self) -> bool {
        self.members.len() == self.free.len() && self.board.posted().recruits.is_empty()
    }

    /// Polls everybody who can go on, until nobody can; ready when the lead is.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut lead: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        for _ in 0..ROUNDS {
            let Some(recruits) = self.begin_round(cx) else { return Poll::Pending };
            recruits.into_iter().for_each(|work| self.seat(work));
            let mut round = std::mem::take(&mut self.round);
            let leads = round.contains(&LEAD);
            round.drain(..).for_each(|seat| self.poll_member(seat));
            self.round = round;
            // Last, for it sends what the others have to say.
            if leads && let Poll::Ready(done) = lead(&mut self.lead.turn()) {
                return Poll::Ready(done);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Finds out who can go on. `None` where nobody can: then the task is woken by the first that can.
    fn begin_round(&mut self, cx: &Context<'_>) -> Option<Vec<Work>> {
        let mut posted = self.board.posted();
        if posted.ready.is_empty() && posted.recruits.is_empty() {
            match &mut posted.task {
                Some(task) => task.clone_from(cx.waker()),
                None => posted.task = Some(cx.waker().clone()),
            }
            return None;
        }
        posted.task = None; // it is awake
        std::mem::swap(&mut posted.ready, &mut self.round);
        Some(std::mem::take(&mut posted.recruits))
    }

    /// Gives a recruit a seat, and its turn in this round.
    fn seat(&mut self, work: Work) {
        let seat = self.free.pop().unwrap_or(self.members.len());
        if seat == self.members.len() {
            self.members.push(Member::new(seat, &self.board));
        }
        if let Some(member) = self.members.get_mut(seat) {
            member.work = Some(work);
            self.round.push(seat);
        }
    }

    fn poll_member(&mut self, seat: usize) {
        // Whoever had the seat before may have been woken once more.
        let Some(member) = self.members.get_mut(seat) else { return };
        let Some(mut work) = member.work.take() else { return };
        if work.as_mut().poll(&mut member.turn()).is_pending() {
            member.work = Some(work);
        } else {
            self.free.push(seat);
        }
    }
}

/// Ends also what was taken in and never polled: that may well hold what takes others in, and so itself.
impl Drop for Crew {
    fn drop(&mut self) {
        let recruits = {
            let mut posted = self.board.posted();
            (posted.is_over, posted.task) = (true, None);
            std::mem::take(&mut posted.recruits)
        };
        drop(recruits);
    }
}

impl fmt::Debug for Recruiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recruiting").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
