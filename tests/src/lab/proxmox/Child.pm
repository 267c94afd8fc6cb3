# Programs that vzdump runs, as real children of the worker: Perl writes what it holds back before
# every fork, so that a guest's log comes to the disk in the same pieces as Proxmox'.
package Child;
use strict;
use warnings;

# A child prints these lines; they go to the log as vzdump's information. Returns its exit code.
sub says {
    my ($log, @lines) = @_;
    return run($log, 0, @lines);
}

sub run {
    my ($log, $code, @lines) = @_;
    if ($log->is_dry) {
        $log->info($_, origin => 'child') for @lines;
        return $code;
    }
    my $pid = open(my $output, '-|');
    die "unable to fork worker - $!\n" if !defined $pid;
    if ($pid == 0) {
        print STDOUT map { "$_\n" } @lines;
        STDOUT->flush();
        POSIX::_exit($code);
    }
    while (my $line = <$output>) {
        chomp $line;
        $log->info($line, origin => 'child');
    }
    close $output;
    return $? >> 8;
}

# The hook script in one of its phases; what it says and how it ends is in the description.
sub hook {
    my ($job, $guest, $log, $phase, $mode) = @_;
    my $script = $job->one('script') or return;
    my $about = $guest || $job;
    my $of_phase = sub { map { /^\Q$phase\E (.*)$/s ? $1 : () } $about->all($_[0]) };
    my ($code) = $of_phase->('hook-fails');
    my @arguments = $guest ? ($mode, $guest->{vmid}) : ();
    if (run($log, $code || 0, $of_phase->('hook'))) {
        die "command '" . join(' ', $script, $phase, @arguments) . "' failed: exit code $code\n";
    }
}

1;
