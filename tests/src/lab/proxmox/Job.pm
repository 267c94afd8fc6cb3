# One run of vzdump over its guests: the lock that it shares with the node's other runs, what it
# says before and after the guests, and how it ends.
package Job;
use strict;
use warnings;
use Fcntl qw(:flock);
use Child;
use Guest;
use Words;

my ($lock, $pid_file) = ('/var/run/vzdump.lock', '/var/run/vzdump.pid');

# Returns how many warnings there were; dies with the task's error.
sub run {
    my ($job, $log, $upid) = @_;
    $SIG{$_} = sub { die "interrupted by signal\n" } for qw(INT TERM QUIT HUP PIPE);
    $log->raw($_) for $job->all('before');
    my $storage = $job->one('storage', 'local');
    my @errors = eval { Child::hook($job, undef, $log, 'job-init', ''); 1 } ? () : $@;
    push @errors, "could not activate storage '$storage': " . $job->one('storage-fails')
        if $job->has('storage-fails');
    if (@errors) {
        chomp @errors;
        notify($job, $log);
        die join("\n", @errors), "\n";
    }
    my $held = eval { lock_all($job, $log, $upid) };
    if ($@) {
        notify($job, $log);
        # As Proxmox does, without a word on how the task ended.
        exit 255;
    }
    $log->info('starting new backup job: ' . command_line($job));
    $log->info('skip external VMs: ' . $job->one('skipped')) if $job->has('skipped');
    my $failed = 0;
    eval {
        Child::hook($job, undef, $log, 'job-start', '');
        for my $guest (@{ $job->{guests} }) {
            $failed++ if !Guest->new($job, $guest, $log)->back_up;
        }
        Child::hook($job, undef, $log, 'job-end', '');
    };
    my $error = $@;
    if ($error) {
        eval { Child::hook($job, undef, $log, 'job-abort', '') };
        $error .= $@;
        $log->tell('ERROR', "Backup job failed - $error");
    } else {
        $log->info('Backup job finished ' . ($failed ? 'with errors' : 'successfully'));
    }
    notify($job, $log);
    die $error if $error;
    die "job errors\n" if $failed;
    unlink $pid_file if !$log->is_dry;
    return $log->{warnings};
}

# One run at a time on a node; the others wait.
sub lock_all {
    my ($job, $log, $upid) = @_;
    return if $log->is_dry;
    open(my $file, '>>', $lock) or die "can't open lock on file '$lock' - $!";
    if (!flock($file, LOCK_EX | LOCK_NB)) {
        $log->info('trying to get global lock - waiting...');
        eval {
            local $SIG{ALRM} = sub { die "got timeout\n" };
            alarm($job->one('lockwait', 180 * 60));
            flock($file, LOCK_EX) or die "$!\n";
            alarm 0;
        };
        alarm 0;
        if (my $error = $@) {
            my $acquire = $log->since(6.0) ? 'acquire' : 'aquire';
            $log->tell('ERROR', "can't $acquire lock '$lock' - $error");
            die $error;
        }
        $log->info('got global lock');
    }
    open(my $pid, '>', $pid_file) or die "$pid_file: $!\n";
    print $pid $upid;
    close $pid;
    return $file;
}

sub command_line {
    my ($job) = @_;
    my $guests = join(' ', map { $_->{vmid} } @{ $job->{guests} });
    my @words = ('vzdump', $job->one('vmids', $guests));
    for my $option ($job->all('option')) {
        my ($name, $value) = split / /, $option, 2;
        my ($is_bare) = $name =~ s/^=//;
        push @words, "--$name", $is_bare ? $value : Words::quoted($value);
    }
    return join(' ', grep { $_ ne '' } @words);
}

sub notify {
    my ($job, $log) = @_;
    return if !$log->since(8.1);
    for my $target ($job->all('notified')) {
        $log->info("notified via target `$target`");
    }
    for my $failed ($job->all('notify-fails')) {
        my ($target, $why) = split / /, $failed, 2;
        $log->tell('ERROR', "could not notify via target `$target`: $why");
    }
}

1;
