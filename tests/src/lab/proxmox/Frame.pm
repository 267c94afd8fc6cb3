# A task as Proxmox VE runs any: a worker of its own, whose output is the task's log; the list of
# running tasks, the index, and the scheduler's notes of its jobs.
package Frame;
use strict;
use warnings;
use Fcntl qw(:DEFAULT :flock);
use File::Path qw(make_path);
use IO::Handle;
use POSIX qw(setsid);

my ($tasks, $states) = ('/var/log/pve/tasks', '/var/lib/pve-manager/jobs');
my $index_bytes_max = 50_000;
my $finished_max = 25;
my $www_data = getpwnam('www-data');

# Runs `work->(upid)` as a task, and returns when it is over. `at_start->(upid)` hears its name.
sub run {
    my (%task) = @_;
    make_path($tasks, $states, '/var/log/vzdump');
    note($task{job}, 'starting', time) if $task{job};
    pipe(my $names, my $name) or die "pipe: $!\n";
    pipe(my $go, my $say_go) or die "pipe: $!\n";
    pipe(my $output, my $print) or die "pipe: $!\n";
    pipe(my $verdict, my $say_verdict) or die "pipe: $!\n";
    my $began = time;
    my $pid = fork() // die "unable to fork worker - $!";
    if ($pid == 0) {
        close $_ for $names, $say_go, $output, $verdict;
        setsid();
        my $upid = sprintf('UPID:%s:%08X:%08X:%08X:%s:%s:%s:', (POSIX::uname())[1], $$,
            started($$), $began, @task{qw(kind id user)});
        $0 = "task $upid";
        # At a terminal the worker's parent writes the log, and shows it.
        my $log = $task{cli} ? $print : open_log($upid);
        print $name "$upid\n";
        close $name;
        open(STDIN, '<', '/dev/null') or die;
        open(STDOUT, '>&', $log) or die;
        open(STDERR, '>&', $log) or die;
        close $log;
        close $print if !$task{cli};
        STDOUT->autoflush(1);
        STDERR->autoflush(1);
        readline $go;
        my $line = verdict(sub { $task{work}->($upid) });
        if ($task{cli}) {
            syswrite $say_verdict, $line;
        } else {
            syswrite STDERR, $line;
        }
        POSIX::_exit($line =~ /^TASK ERROR/ ? 255 : 0);
    }
    close $_ for $name, $go, $print, $say_verdict;
    chomp(my $upid = <$names>);
    my $log = $task{cli} ? open_log($upid) : undef;
    update_lists("$upid 0");
    note($task{job}, 'started', $began, $upid) if $task{job};
    $task{at_start}->($upid);
    close $say_go;
    tee($output, $verdict, $log) if $task{cli};
    waitpid($pid, 0);
    close $log if $log;
    update_lists();
}

# The last line of a task's log.
sub verdict {
    my ($work) = @_;
    my $warnings = eval { $work->() };
    my $error = $@;
    return $warnings ? "TASK WARNINGS: $warnings\n" : "TASK OK\n" if $error eq '';
    chomp $error;
    $error =~ s/\n/ /g;
    return "TASK ERROR: $error\n";
}

sub open_log {
    my ($upid) = @_;
    my ($last) = $upid =~ /^UPID:[^:]*:[^:]*:[^:]*:[0-9A-F]*([0-9A-F]):/;
    my $folder = "$tasks/$last";
    if (!-d $folder) {
        mkdir $folder;
        chown $www_data, 0, $folder;
    }
    my $before = umask 0027;
    sysopen(my $log, "$folder/$upid", O_WRONLY | O_CREAT | O_EXCL, 0640) or die "$upid: $!\n";
    umask $before;
    chown $www_data, 0, "$folder/$upid";
    return $log;
}

# What a worker prints that somebody started at a terminal. Its success is not shown.
sub tee {
    my ($output, $verdict, $log) = @_;
    while (sysread($output, my $piece, 4096)) {
        print STDOUT $piece;
        STDOUT->flush;
        syswrite $log, $piece;
    }
    my $line = '';
    sysread($verdict, $line, 4096);
    if ($line eq "TASK OK\n") {
        syswrite $log, $line;
    } elsif ($line =~ /^TASK (ERROR|WARNINGS): (.*)$/) {
        print STDOUT $1 eq 'ERROR' ? "$2\n" : "Task finished with $2 warning(s)!\n";
        syswrite $log, "\n$line";
    } else {
        print STDOUT "got unexpected control message: \n";
        syswrite $log, "TASK ERROR: got unexpected control message: $line \n";
    }
}

# When a process began, as the kernel counts it; nothing if it is gone.
sub started {
    my ($pid) = @_;
    open(my $stat, '<', "/proc/$pid/stat") or return 0;
    my $line = <$stat> // return 0;
    $line =~ s/^.*\) //;
    my @fields = split / /, $line;
    return $fields[0] eq 'Z' ? 0 : $fields[19];
}

sub runs {
    my ($upid) = @_;
    my ($pid, $started) = $upid =~ /^UPID:[^:]*:([0-9A-F]+):([0-9A-F]+):/ or return 0;
    return started(hex $pid) == hex $started;
}

# How a task ended, by its log's last line.
sub status {
    my ($upid) = @_;
    my ($path) = glob("$tasks/?/$upid");
    open(my $log, '<', $path // '') or return 'unable to open file';
    my $last = '';
    while (<$log>) { $last = $_ }
    chomp $last;
    return 'OK' if $last eq 'TASK OK';
    return $1 if $last =~ /^TASK (WARNINGS: \d+)$/ || $last =~ /^TASK ERROR: (.+)$/;
    return 'unexpected status';
}

# Looks which tasks are over, notes them in the index, and writes the list anew, with `new` in it.
sub update_lists {
    my ($new) = @_;
    open(my $lock, '>>', "$tasks/.active.lock") or die "$tasks/.active.lock: $!\n";
    flock($lock, LOCK_EX);
    my @lines = defined $new ? ($new) : ();
    if (open(my $active, '<', "$tasks/active")) {
        chomp(my @old = <$active>);
        push @lines, @old;
    }
    my (@running, @finished, $archive);
    for my $line (@lines) {
        my ($upid, $is_saved, $end, $status) = split / /, $line, 4;
        if (!defined $end && runs($upid)) {
            push @running, $line;
            next;
        }
        ($end, $status) = (sprintf('%08X', time), status($upid)) if !defined $end;
        $archive .= "$upid $end $status\n" if !$is_saved;
        push @finished, "$upid 1 $end $status";
    }
    if (defined $archive) {
        open(my $index, '>>', "$tasks/index") or die "$tasks/index: $!\n";
        print $index $archive;
        $index->flush;
        my $bytes = -s $index;
        close $index;
        rename("$tasks/index", "$tasks/index.1") if $bytes > $index_bytes_max;
    }
    my $room = $finished_max - @running;
    $#finished = $room - 1 if @finished > $room;
    replace("$tasks/active", join('', map { "$_\n" } @running, @finished));
}

# A new file takes the old one's place.
sub replace {
    my ($path, $text) = @_;
    open(my $file, '>', "$path.tmp.$$") or die "$path: $!\n";
    print $file $text;
    close $file;
    rename("$path.tmp.$$", $path) or die "$path: $!\n";
}

# The scheduler's note of a job's last run.
sub note {
    my ($job, $state, $time, $upid, $message) = @_;
    my $more = defined $upid ? qq(,"upid":"$upid") : '';
    $more .= qq(,"msg":"$message") if defined $message;
    replace("$states/vzdump-$job.json", qq({"state":"$state","time":$time$more}));
}

# What the scheduler does every minute: notes which runs are over.
sub tick {
    for my $path (glob("$states/vzdump-*.json")) {
        open(my $file, '<', $path) or next;
        my $text = do { local $/; <$file> };
        my ($time, $upid) = $text =~ /"state":"started","time":(\d+),"upid":"([^"]+)"/ or next;
        next if runs($upid);
        my ($job) = $path =~ m{/vzdump-([^/]+)\.json$};
        note($job, 'stopped', $time, $upid, status($upid) =~ s/(["\\])/\\$1/gr);
    }
}

1;
